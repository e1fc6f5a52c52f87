"""Build the reference of the public interface: ``python docs/build.py FOLDER PACKAGE...``. Needs no network."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import warnings
from pathlib import Path

import pdoc


def public_modules(package: str) -> list[str]:
    """The package and every module in it whose path has no step that begins with an underscore."""
    found = importlib.import_module(package)
    for name in getattr(found, "__all__", ()):
        setattr(found, name, getattr(found, name))  # a name that loads on first use is not seen before
    inner = (one.name for one in pkgutil.walk_packages(found.__path__, f"{package}."))
    return [package, *(name for name in inner if not any(step.startswith("_") for step in name.split(".")))]


def main() -> None:
    """Write one page for each public module, an index and a search."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("packages", nargs="+")
    given = parser.parse_args()
    modules = [module for package in given.packages for module in public_modules(package)]
    pdoc.render.configure(docformat="google", show_source=False)
    warnings.filterwarnings("ignore", message="The module specification")  # a package lists some of its modules itself
    pdoc.pdoc(*modules, output_directory=given.folder)
    print(f"{len(modules)} pages in {given.folder}; begin at {given.folder / 'index.html'}")


if __name__ == "__main__":
    main()
