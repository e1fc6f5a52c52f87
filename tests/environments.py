"""Wheels of every distribution here, and clean environments for them. Tests import them as ``environments``.

A clean environment sees what is installed beside the tests (torch, pip, hatchling), but nothing of ours: that comes
from wheels alone. No network is needed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PROJECTS", "ROOT", "Environment", "build", "make_environment"]

ROOT = Path(__file__).resolve().parents[1]
PROJECTS = {"ganenc": ROOT, **{path.name: path for path in sorted((ROOT / "plugins").glob("ganenc-plugin-*"))}}
"""The folder of each distribution, by its name."""
OURS = ("ganenc", "_ganenc", "ripples", "__editable__")


@dataclass(frozen=True)
class Environment:
    """An environment with a Python of its own.

    Attributes:
        folder: where it lies.
        wheels: where pip looks for distributions.
    """

    folder: Path
    wheels: Path

    @property
    def variables(self) -> dict[str, str]:
        """The variables of a process in it: its programs come first, and pip reaches for nothing but the wheels."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PIP_", "GANENC"))}
        return {
            **kept,
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{kept.get('PATH', '')}",
            "HOME": str(self.folder),
            "VIRTUAL_ENV": str(self.folder),
            "OMP_NUM_THREADS": "1",
            "PYTHONNOUSERSITE": "1",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
            "PIP_NO_BUILD_ISOLATION": "0",  # pip reads this as: build with what is installed
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
        }

    def run(self, *command: str, folder: Path | None = None, code: int = 0) -> str:
        """What a command prints that is run in the environment; it has to end with ``code``."""
        place = folder or self.folder
        done = subprocess.run(list(command), cwd=place, env=self.variables, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout + (done.stderr if code else "")

    def python(self, code: str, *arguments: str) -> str:
        """What Python code prints."""
        return self.run("python", "-c", code, *arguments)


def build(project: Path, out: Path) -> tuple[Path, Path]:
    """Build a distribution as its users would, an sdist and from that a wheel; gives the wheel and the sdist."""
    before = set(out.iterdir()) if out.is_dir() else set()
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(project)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    made = set(out.iterdir()) - before
    (wheel,) = [path for path in made if path.suffix == ".whl"]
    (sdist,) = [path for path in made if path.name.endswith(".tar.gz")]
    return wheel, sdist


def make_environment(folder: Path, wheels: Path, *requirements: str) -> Environment:
    """Make an environment and install requirements in it, from wheels, with what they need.

    Args:
        folder: where to.
        wheels: the folder that pip finds distributions in.
        requirements: as pip takes them.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    environment = Environment(folder, wheels)
    (site,) = (folder / "lib").glob("python3*/site-packages")
    others = folder / "others"
    others.mkdir()
    for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for path in Path(place).iterdir():
            if not path.name.startswith(OURS) and path.suffix != ".pth":
                (others / path.name).symlink_to(path)
    (site / "others.pth").write_text(f"{others}\n")
    for program in ("pip", "pytest"):
        script = folder / "bin" / program
        script.write_text(f'#!/bin/sh\nexec python -m {program} "$@"\n')
        script.chmod(0o755)
    if requirements:
        environment.run("pip", "install", "--quiet", *requirements)
    return environment
