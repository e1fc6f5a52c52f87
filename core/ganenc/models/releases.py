"""Published generators by name: where their files lie on this machine, and how they get there. Imports no torch.

A release's files lie in ``models/<name>`` of :func:`ganenc.files.cache_folder`. Not in paper.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ganenc_registry.errors import CheckpointError, DownloadError, WeightsMissingError, told
from ganenc_registry.specs import GeneratorSpec, Noise, Release, ReleaseFile
from ganenc_registry.specs.layout import shape_text

from ganenc.files import WHEELS, OnProgress, cache_folder, download

if TYPE_CHECKING:
    from rich.console import Console


def release_folder(name: str) -> Path:
    """The folder of a release's files, whether they are there or not."""
    return cache_folder() / "models" / name


def release_path(name: str, release: Release) -> Path:
    """What is read once the files are there: the only file, or the folder of several."""
    folder = release_folder(name)
    return folder / release.files[0].name if len(release.files) == 1 else folder


@told(WeightsMissingError)
def fetch_release(name: str, release: Release) -> Path:
    """Give what is to be read of a release, after fetching those of its files that are not here, with a progress bar.

    Sizes are checked wherever they are known, checksums when a file is fetched. Nothing is asked of the network for a
    file that is here. `WeightsMissingError` if a file cannot be fetched, or only by hand: which one, from where, and
    where it belongs; `CheckpointError` if a file that is here has another size than the one that was published.
    """
    folder = release_folder(name)
    missing = [file for file in release.files if not _is_here(folder / file.name, file)]
    by_hand = [file for file in missing if file.by_hand]
    if by_hand:
        raise WeightsMissingError(f"{name} is published where no program can fetch it: {_remedy(by_hand, folder)}.")
    if missing:
        _console().print(
            f"{name} is published under {release.generator.licence}; see {release.page}. {release.notes}".rstrip(),
            markup=False,
            highlight=False,
        )
    for file in missing:
        try:
            with _progress(file, folder) as (on_progress, on_wait):
                download(
                    file.url,
                    folder / file.name,
                    size=file.size,
                    checksum=file.checksum,
                    on_progress=on_progress,
                    on_wait=on_wait,
                )
        except DownloadError as error:
            left = [file for file in missing if not (folder / file.name).is_file()]
            raise WeightsMissingError(
                f"{name} is not on this machine and could not be fetched ({error}): try again later, or"
                f" {_remedy(left, folder)}."
            ) from None
    return release_path(name, release)


def clear_release(name: str, release: Release) -> None:
    """Remove a release's files, and the wheels that they came in."""
    folder = release_folder(name)
    for file in release.files:
        (folder / file.name).unlink(missing_ok=True)
    shutil.rmtree(folder / WHEELS, ignore_errors=True)


def check_release(name: str, release: Release, found: GeneratorSpec) -> None:
    """Check that a generator is the one published by that name; else a `CheckpointError` names what differs."""
    published = _facts(release.generator)
    for what, given in _facts(found).items():
        if given is not None and published[what] not in (None, given):
            raise CheckpointError(
                f"{release_path(name, release)} holds another generator than {name}: it has {what} {given}, not"
                f" {published[what]}; put the published files there (see {release.page}), or load this one by its path."
            )


def _facts(spec: GeneratorSpec) -> dict[str, object]:
    """What tells one generator from another; None where a spec does not say."""
    return {
        "family": spec.family,
        "size": shape_text(spec.size),
        "number of channels": spec.channels,
        "number of classes": spec.classes,
        "length of z": spec.prior.dim,
        "layout": ", ".join(f"{p.name} {shape_text(p.shape)}" for p in spec.layout if not isinstance(p, Noise)),
        "channels at each resolution": spec.resolution_channels,
    }


def _is_here(path: Path, file: ReleaseFile) -> bool:
    if not path.is_file():
        return False
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        raise CheckpointError(
            f"{path} has {size:,} bytes, but {file.size:,} were published; remove it, and fetch it again."
        )
    return True


def _remedy(files: list[ReleaseFile], folder: Path) -> str:
    """What to do by hand."""
    return f"put {' and '.join(f'{file.name} (from {file.url})' for file in files)} into {folder}"


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True, soft_wrap=True)


@contextmanager
def _progress(file: ReleaseFile, folder: Path) -> Iterator[tuple[OnProgress, Callable[[], None]]]:
    """Tell on stderr what is fetched to where; on a terminal with a bar."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = _console()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal)
    told = False

    def on_progress(done: int, total: int | None) -> None:
        nonlocal told
        if not told:
            told = True
            console.print(f"Fetching {file.url} to {folder / file.name}", markup=False, highlight=False)
        bar.update(task, completed=done, total=total)

    def on_wait() -> None:
        console.print(f"Another process is fetching {file.name}; waiting for it.", markup=False, highlight=False)

    with bar:
        task = bar.add_task(Path(file.name).name, total=file.size)
        yield on_progress, on_wait
