"""Where the metrics of a run go besides its own file: trackers of accelerate."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, filter_trackers
from ganenc_registry.errors import SpecError, nearest


def start_trackers(names: Sequence[str], folder: Path, step: int, config: Mapping[str, Any]) -> list[Any]:
    """Trackers of the run in a folder, as accelerate has them, ready for ``log`` and ``finish``; ``config`` is the
    run's spec as plain data. What an interrupted run told TensorBoard from ``step`` on, the first that will be told, is
    dropped. A SpecError if there is no such tracker, or it is not installed."""
    known = {str(name): kind for name, kind in LOGGER_TYPE_TO_CLASS.items()}
    started = []
    for name in names:
        if name not in known:
            raise SpecError(
                f"saving.trackers: there is no {name!r}{nearest(name, known)}; known are {', '.join(known)}."
            )
        if not filter_trackers([name], str(folder)):
            raise SpecError(f"saving.trackers: {name} is not installed; `pip install {name}`, or leave it out.")
        if name == "tensorboard":
            _await_new_second(folder)
            tracker = known[name]("", str(folder), purge_step=step)
        else:
            place = [str(folder)] if known[name].requires_logging_directory else []
            tracker = known[name](folder.name, *place)
        if hasattr(tracker, "start"):
            tracker.start()
        if name != "tensorboard":
            tracker.store_init_configuration(dict(config))
        started.append(tracker)
    return started


def _await_new_second(folder: Path) -> None:
    """Wait until no file of TensorBoard's was begun in this second: it tells by it which of two is the later one."""
    while any(folder.glob(f"events.out.tfevents.{int(time.time())}.*")):
        time.sleep(0.05)
