"""Shards of photos inverted: one file in, one parquet file out, which is there whole or not at all.

Nothing but the shard and the spec decides what is written: photos go through the networks in batches of one size, in
the shard's order, and what is no photo keeps out of them, whatever was done before and wherever it is done again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from itertools import chain, compress, count, repeat
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from ganenc_registry.errors import ImageError, SpecError, WriteError
from ganenc_registry.fields import check_choices
from ganenc_registry.specs import Choice, InvertSpec, Noise
from PIL import Image

from ganenc.files import atomic_path, drop_leftovers, load_parquet, open_parquet
from ganenc.images import PhotoSource, depict, is_array, to_image
from ganenc.inversion import Photo, purpose_of
from ganenc.jobs.prefetching import READERS, batches
from ganenc.jobs.shard_decoding import Found, Reading
from ganenc.jobs.shard_names import find_shards, part_of
from ganenc.jobs.shard_reading import Read, read_shards
from ganenc.jobs.shard_records import PARQUET, Fields, ShardPhoto, open_shard
from ganenc.jobs.shard_rows import GROUP, HELD, ShardRow, ShardWriter, shard_metadata
from ganenc.jobs.worker import Worker
from ganenc.model import Model, load
from ganenc.report import Inverted

ONE_PASS = Choice(name="encode")
WAYS = ("predicted", "searched")


@dataclass(frozen=True)
class ShardResult:
    """What became of a shard."""

    shard: Path
    path: Path
    """The parquet file that it left."""
    photos: int = 0
    """Its rows; 0 where it was done before."""
    failed: int = 0
    """How many of them hold an error."""
    refined: int = 0
    """How many were inverted by the method after one pass."""
    seconds: float = 0.0
    waited: float = 0.0
    """Of these, how many the networks had nothing to do."""
    done_before: bool = False


@dataclass
class ShardsResult:
    """What became of this process's part of some shards."""

    out: Path
    done: list[ShardResult] = field(default_factory=list)
    """Those that are done, before or now."""
    broken: list[tuple[Path, str]] = field(default_factory=list)
    """Those that are no shards, or broken as a whole, and why."""
    others: int = 0
    """How many are those of other processes."""


OnShard: TypeAlias = Callable[[Path, int, "ShardResult | None"], object]
"""Told which shard is worked on, how many of its photos are done, and once it is over what became of it."""


def invert_shard(
    model: Model,
    shard: str | Path,
    spec: InvertSpec | None = None,
    out: str | Path = "latents",
    *,
    overwrite: bool = False,
    on_shard: OnShard | None = None,
) -> ShardResult:
    """Invert the photos of a shard, a ``.tar`` as WebDataset has it, a ``.parquet`` with a column of images or a list
    of files (``.txt``), and write one parquet file into ``out``, with a row for each, called as the shard is.

    A shard whose file is there is done, and it comes to be there at once: this is the same function on one machine and
    on a thousand, and two that do the same shard do no harm. What is written depends on the shard, model and spec
    alone (on one kind of machine; but for ``seconds``), and memory on no more than a group of rows. A record that is
    no photo is a row that says why (``error``).

    The method is the spec's, by default one pass of the encoder, or ``optimize`` where there is none; with
    ``shards.refine_below`` it is for photos whose PSNR after one pass is less, by default that to rebuild.
    A GanencError if the shard is broken as a whole, what is there was made of another shard or by other settings
    (unless to ``overwrite`` it), the method tunes weights, which rows do not hold, or pyarrow is missing.
    """
    work = _Work(model, spec or InvertSpec(), Path(out), overwrite, on_shard or (lambda *_: None))
    (result,) = work.each([Path(shard)])
    if isinstance(result, ImageError):
        raise result
    return result


def invert_shards(
    model: Model | str | Path,
    shards: str | Path | Sequence[str | Path] = (),
    out: str | Path = "latents",
    spec: InvertSpec | None = None,
    *,
    part: tuple[int, int] | None = None,
    overwrite: bool = False,
    on_shard: OnShard | None = None,
) -> ShardsResult:
    """Invert shards by `invert_shard`, one after another: all that `find_shards` finds, or the ``part`` of them that is
    this process's, (which, of how many), by default as torchrun or an array of Slurm's says. Those that are done are
    passed over, and one that is broken does not stop the others. ``model`` is one, or what `ganenc.load` takes."""
    spec, out = spec or InvertSpec(), Path(out)
    check_choices(spec)
    load_parquet()
    index, count = part or part_of(os.environ)
    found = find_shards(shards or spec.photos)
    if not isinstance(model, Model):
        local = os.environ.get("LOCAL_RANK", "")
        device = f"cuda:{local}" if spec.device == "cuda" and local else spec.device
        model = load(model, device=device, encoder=spec.encoder, backbone=spec.backbone)
    work, mine = _Work(model, spec, out, overwrite, on_shard or (lambda *_: None)), found[index::count]
    result = ShardsResult(out, others=len(found) - len(mine))
    for shard, one in zip(mine, work.each(mine), strict=True):
        if isinstance(one, ShardResult):
            result.done.append(one)
        else:
            result.broken.append((shard, str(one)))
    drop_leftovers(out, of={one.path.name for one in result.done})
    return result


class _ShardWorker(Worker):
    """Inverts batches of photos of shards."""

    def each(self, inverted: Inverted) -> list[ShardRow]:
        """Its row of each."""
        settings, latents, labels = self.spec.shards, inverted.latents.tensors, inverted.labels
        known = {part.name for part in self.model.generator.spec.layout if not isinstance(part, Noise)}
        if any(inverted.tuning) or latents.keys() - known:
            raise SpecError(
                f"method: what {inverted.method} finds besides latents, noise or weights for each photo, shards do not"
                " hold; take encode, finetune+refine or optimize without noise."
            )
        with np.errstate(over="ignore"):
            parts = {
                name: one.detach().float().cpu().numpy().reshape(len(one), -1).astype(settings.numbers)
                for name, one in latents.items()
            }
        sound = np.all([np.isfinite(one).all(1) for one in parts.values()], axis=0)
        known_classes = labels if labels is None or labels.ndim == 1 else labels.argmax(1)
        classes = repeat(None) if known_classes is None else known_classes.tolist()
        scores = inverted.score(settings.metrics)
        found = zip(scores, inverted.verdicts(scores), classes, inverted.seconds, self.pictures(inverted))
        return [
            ShardRow("", None, {name: one[place] for name, one in parts.items()}, metrics, verdict, inverted.method,
                     label, seconds, picture)
            if sound[place] else ShardRow("", f"The latents found are beyond what {settings.numbers} holds.")
            for place, (metrics, verdict, label, seconds, picture) in enumerate(found)
        ]  # fmt: skip

    def pictures(self, inverted: Inverted) -> Iterable[Image.Image | None]:
        """The reconstructions, where they are kept."""
        if self.spec.shards.reconstructions == "none":
            return repeat(None)
        spec = self.model.generator.spec
        return [to_image(depict(one, spec)) for one in inverted.reconstructions.detach().cpu()]

    def load(self, photo: PhotoSource, label: int | None) -> Photo:
        """A photo as the generator takes it; see `read_shards`."""
        return replace(self.photo(photo, label), picture=None, source=None)


class _Work:
    """What is the same for all shards."""

    def __init__(self, model: Model, spec: InvertSpec, out: Path, overwrite: bool, tell: OnShard) -> None:
        self.model, self.spec, self.out, self.overwrite, self.tell = model, spec, out, overwrite, tell
        load_parquet()
        settings, classes, given = spec.shards, model.generator.spec.classes, spec.labels
        label = given[0] if isinstance(given, tuple) and len(given) == 1 else None
        if given is not None and label is None and given not in WAYS:
            raise SpecError(
                "labels: in shards a class is one for all, predicted or searched, or in the shard: --set"
                " shards.label=COLUMN, of a tar the ending."
            )
        if (settings.label or label is not None) and not classes:
            raise SpecError("labels: the model has no classes, so they are of no use; leave them out.")
        if spec.seconds:
            raise SpecError("seconds: what a shard leaves does not depend on the machine; give --steps for the method.")
        labels = [label or 0] if settings.label or label is not None else given
        purpose = purpose_of(spec.operator) if spec.operator else "rebuild"
        method = spec.method or Choice.from_mapping(model.default_method(purpose))
        refines = settings.refine_below is not None
        once = spec.method is None and model.encoder is not None and not spec.operator
        first = ONE_PASS if refines or once else method
        workers = [
            _ShardWorker(model, spec.model_copy(update={"method": one}), labels=labels, pages=False)
            for one in ([first, method] if refines else [first])
        ]
        self.worker, self.refiner = workers[0], workers[-1]
        made = model.generator.spec
        self.value_range = made.value_range
        self.apart = not (
            spec.align or spec.operator or is_array(made.channels, made.size, one_hot=made.shows == "tiles")
        )
        self.reading = Reading(
            Fields(settings.image, settings.label), made.size, made.channels, spec.fit, classes, label,
            self.worker.together, threads=0 if spec.align else READERS, out=None if overwrite else out,
        )  # fmt: skip
        self.settings = {**self.worker.settings(), "shards": settings.to_mapping()}
        if refines:
            self.settings["refined_by"] = self.refiner.settings()["method"]

    def each(self, shards: Sequence[Path]) -> Iterator[ShardResult | ImageError]:
        """What becomes of each: an error where it is broken as a whole."""
        reading = replace(self.reading, shards=tuple(shards))
        with closing(read_shards(reading, self.worker.load, self.value_range, apart=self.apart)) as known:
            for shard, found in zip(shards, known, strict=True):
                try:
                    yield self.invert(shard, found)
                except ImageError as error:
                    yield error

    def path(self, shard: Path) -> Path:
        """Where what comes of it is kept."""
        return self.out / f"{shard.stem}{PARQUET}"

    def invert(self, shard: Path, found: Iterator[Found[Sequence[Read]]]) -> ShardResult:
        """One of them, as it is read."""
        path, began, groups = self.path(shard), time.perf_counter(), _Groups(self, shard, found)
        metadata = shard_metadata(self.model, shard, groups.size, self.settings)
        if groups.done:
            self._check(path, metadata)
            result = ShardResult(shard, path, done_before=True)
            self.tell(shard, 0, result)
            return result
        try:
            with (
                atomic_path(path) as temporary,
                ShardWriter(temporary, self.model, self.spec.shards, metadata) as writer,
                ThreadPoolExecutor(1, "ganenc-write") as pool,
            ):
                written = pool.submit(lambda: None)
                for group in groups:
                    written.result()
                    written = pool.submit(writer.write, group)
                written.result()
        except WriteError:  # Where another process put it there first, and away what it takes for left over.
            if self.overwrite or not os.path.lexists(path):
                raise
            self._check(path, metadata)
        seconds = time.perf_counter() - began
        result = ShardResult(shard, path, groups.photos, groups.failed, groups.refined, seconds, groups.waited)
        self.tell(shard, groups.photos, result)
        return result

    def _check(self, path: Path, metadata: Mapping[str, str]) -> None:
        """A SpecError if what is there is of another shard, or was made with other settings."""
        with open_parquet(path, SpecError) as opened:
            known = {name.decode(): value.decode() for name, value in (opened.schema_arrow.metadata or {}).items()}
        for name, what in (("format", "kind"), ("shard", "shard"), ("shard_bytes", "shard"), ("settings", "settings")):
            if known.get(name) != metadata[name]:
                raise SpecError(
                    f"{path} is of another {what} than what is asked for; give another folder, or overwrite it"
                    " (--overwrite)."
                )


class _Groups:
    """The rows of a shard of a ``size`` in bytes, a group at a time; none where it was ``done`` before."""

    def __init__(self, work: _Work, shard: Path, found: Iterator[Found[Sequence[Read]]]) -> None:
        self.work, self.shard, self.found = work, shard, found
        self.photos = self.failed = self.refined = 0
        self.waited = 0.0
        self.size = self._next()
        try:
            self.first, self.done = self._next(), False
        except FileExistsError:
            self.first, self.done = (), True

    def __iter__(self) -> Iterator[list[ShardRow]]:
        work, rows, held = self.work, list[ShardRow](), 0
        with ExitStack() as stack:
            again = None
            if work.spec.shards.refine_below is not None:
                again = stack.enter_context(open_shard(self.shard, work.reading.fields))
            for batch in chain([self.first] if self.first else (), iter(self._next, ())):
                some = self._inverted(batch, work.worker)
                rows += some
                held += sum(row.bytes for row in some)
                self.photos += len(batch)
                work.tell(self.shard, self.photos, None)
                if len(rows) >= GROUP or held > HELD:
                    yield self._whole(rows, again)
                    rows, held = [], 0
            if rows:
                yield self._whole(rows, again)

    def _next(self) -> Any:
        """What is found next, () at the end; it raises why there is no more, if that is not it."""
        began = time.perf_counter()
        found = next(self.found, ())
        self.waited += time.perf_counter() - began
        if isinstance(found, Exception):
            raise found
        return found

    def _whole(self, rows: list[ShardRow], again: Iterator[ShardPhoto] | None) -> list[ShardRow]:
        """Rows, those that one pass did not rebuild well by the method, to which their photos are read once more."""
        if again is not None:
            self._refine(rows, again)
        self.failed += sum(row.error is not None for row in rows)
        return rows

    def _refine(self, rows: list[ShardRow], again: Iterator[ShardPhoto]) -> None:
        limit, refiner = self.work.spec.shards.refine_below or 0, self.work.refiner
        poor = [row.error is None and row.metrics["psnr"] < limit for row in rows]
        places, photos = compress(count(), poor), compress(self._same(rows, again), poor)
        for batch in batches((self.work.reading.loaded(one, refiner.load) for one in photos), lambda: refiner.together):
            for row in self._inverted(batch, refiner):
                once = rows[place := next(places)]
                better = row.error is None and row.metrics["psnr"] > once.metrics["psnr"]
                rows[place] = replace(row if better else once, seconds=(once.seconds or 0) + (row.seconds or 0))
                self.refined += 1

    def _same(self, rows: list[ShardRow], again: Iterator[ShardPhoto]) -> Iterator[ShardPhoto]:
        """The photos of rows; an ImageError where others have come in their place."""
        for row in rows:
            photo = next(again, None)
            if photo is None or photo.key != row.key:
                raise ImageError(f"{self.shard} was changed while it was read; leave it as it is, and start again.")
            yield photo

    def _inverted(self, batch: Sequence[Read], worker: _ShardWorker) -> list[ShardRow]:
        """The rows of photos, in their order."""
        found = {photo.key: row for photo, row in worker.invert(batch, lambda photos, terms: None)}
        rows = [(photo.key, found[photo.key]) for photo, _ in batch]
        return [ShardRow(key, str(row)) if isinstance(row, ImageError) else replace(row, key=key) for key, row in rows]
