"""Work done elsewhere than in this process, by an engine that runs functions: shards inverted, an encoder trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

from ganenc_registry.components import Component, build, written_choices
from ganenc_registry.errors import SpecError
from ganenc_registry.fields import check_choices
from ganenc_registry.specs import InvertSpec, RunSpec

from ganenc.files import import_scripts, imported_scripts
from ganenc.jobs.runs import execute
from ganenc.jobs.shard_names import find_shards
from ganenc.jobs.shards import OnShard, ShardsResult, invert_shards
from ganenc.model import Model, load

T = TypeVar("T")
R = TypeVar("R")


class Runner(Component, ABC):
    """An engine that runs functions in processes of its own, on one machine or on many that see the same folders.

    What it is given, and gives back, can be pickled. Its processes work in this one's folder: paths mean the same.
    """

    @abstractmethod
    def each(self, work: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """What ``work`` gives for each task, in any order, as it comes. A process keeps its copy of ``work`` from task
        to task; what a process that is lost had not given is done by another. A GanencError of ``work`` is raised."""

    @abstractmethod
    def together(self, work: Callable[[], None]) -> None:
        """Call ``work`` in some processes at once, each told its place as torchrun tells it (``RANK``, ``WORLD_SIZE``
        and the like); where one is lost, in all of them anew. A GanencError of ``work`` is raised."""


def read_runner(word: str) -> Runner:
    """A runner as it is written on one line, ``name`` or ``name:option=value,option=value``; a GanencError if there is
    none, or an option is wrong."""
    found = written_choices("runner", word)
    if len(found) > 1:
        raise SpecError(f"One engine runs it; {word!r} names {len(found)}.")
    return build("runner", found[0], Runner)


def invert_shards_on(
    runner: Runner,
    model: str,
    shards: str | Path | Sequence[str | Path],
    out: str | Path = "latents",
    spec: InvertSpec | None = None,
    *,
    overwrite: bool = False,
    on_shard: OnShard | None = None,
) -> ShardsResult:
    """Invert shards as `ganenc.invert_shards` does, with the model of a name, in the processes of a runner; what is
    left is the same. ``on_shard`` is told of each shard that is over."""
    spec, found = spec or InvertSpec(), find_shards(shards)
    check_choices(spec)
    result = ShardsResult(Path(out))
    for one in runner.each(_Inverting(model, spec, Path(out), overwrite, imported_scripts()), found):
        result.done += one.done
        result.broken += one.broken
        for done in one.done if on_shard else ():
            on_shard(done.shard, done.photos, done)  # type: ignore[misc]
    places = {shard: place for place, shard in enumerate(found)}
    result.done.sort(key=lambda one: places[one.shard])
    return result


def train_on(runner: Runner, run: RunSpec, folder: str | Path) -> None:
    """Carry out a run as `ganenc.execute` does, in processes of a runner that train together."""
    check_choices(run)
    runner.together(partial(_train, run, Path(folder), imported_scripts()))


@dataclass
class _Inverting:
    """Inverts one shard after another."""

    source: str
    spec: InvertSpec
    out: Path
    overwrite: bool
    scripts: tuple[str, ...]

    @cached_property
    def model(self) -> Model:
        """Loaded for the first shard."""
        import_scripts(self.scripts)
        return load(self.source, device=self.spec.device, encoder=self.spec.encoder, backbone=self.spec.backbone)

    def __call__(self, shard: Path) -> ShardsResult:
        return invert_shards(self.model, [shard], self.out, self.spec, part=(0, 1), overwrite=self.overwrite)


def _train(run: RunSpec, folder: Path, scripts: tuple[str, ...]) -> None:
    import_scripts(scripts)
    execute(run, folder)
