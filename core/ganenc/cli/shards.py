"""``ganenc index``, and what ``ganenc invert`` does with shards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import InvertSpec

from ganenc.cli import options
from ganenc.cli.console import Bar, complain, emit, say, show, show_table
from ganenc.cli.exits import FAILED, INTERRUPTED
from ganenc.files import Processes
from ganenc.jobs import (
    PERCENTILES,
    ShardResult,
    ShardsResult,
    failed_photos,
    find_shards,
    index_shards,
    invert_shards,
    invert_shards_on,
    part_of,
    read_runner,
)
from ganenc.report import metric_name, seconds_text

WEEK = 7 * 24 * 3600.0
LISTED = 20
"""So many photos that failed are named."""


def carry_out_shards(
    words: Sequence[str | Path],
    out: Path,
    spec: InvertSpec,
    *,
    on: str | None,
    part: tuple[int, int] | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Invert shards with a bar, here or by an engine, and tell what came of them; exits with 1 if one is broken, or it
    was interrupted."""
    if on is not None and part is not None:
        raise SpecError("--part and --on are given; leave one out: an engine hands out shards itself.")
    part = part or ((0, 1) if on else part_of(os.environ))
    found, done, photos = find_shards(words), 0, 0

    def tell(shard: Path, inverted: int, result: ShardResult | None) -> None:
        nonlocal done, photos
        if result is not None:
            done, photos, inverted = done + 1, photos + result.photos, 0
        bar.update(done, f"{photos + inverted:,} photos", what=shard.name)

    try:
        with Bar("inverting", len(found[part[0] :: part[1]])) as bar:
            if on is not None:
                runner = read_runner(on)
                result = invert_shards_on(runner, spec.model, found, out, spec, overwrite=overwrite, on_shard=tell)
            else:
                result = invert_shards(spec.model, found, out, spec, part=part, overwrite=overwrite, on_shard=tell)
    except KeyboardInterrupt:
        say(f"Interrupted; shards that are done are in {out}, and the same command does the others.")
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        emit(to_mapping(result))
    elif not quiet:
        _show(result)
    for _, error in result.broken:
        complain(error)
    if on is None and os.environ.get("WORLD_SIZE", "1") != "1":
        Processes(patience=WEEK).wait()  # As torchrun ends all where one ends with an error.
    if result.broken:
        raise typer.Exit(FAILED)


def to_mapping(result: ShardsResult) -> dict[str, Any]:
    """What became of shards, as data."""
    broken = [{"shard": shard, "error": error} for shard, error in result.broken]
    return {"out": result.out, "shards": [vars(one) for one in result.done], "broken": broken, "others": result.others}


def index(
    folder: Annotated[Path, typer.Argument(help="What `ganenc invert` wrote shards to.")],
    failed: Annotated[bool, typer.Option("--failed", help="List all photos that failed, and nothing else.")] = False,
    as_json: options.Json = False,
) -> None:
    """Look through inverted shards: how many photos, how well they came back, which failed, and which came back worst.
    `ganenc invert --refine-below` inverts such photos by more than one pass."""
    if failed:
        rows = (f"{shard}\t{key}\t{error}" for shard, key, error in failed_photos(folder))
        for row in rows:
            show(row)
        return
    found = index_shards(folder)
    if as_json:
        lost = [{"shard": shard, "key": key, "error": error} for shard, key, error in failed_photos(folder)]
        emit({**found.to_mapping(), "failures": lost})
    else:
        done = found.photos - found.failed
        show(f"{found.shards:,} shards, {found.photos:,} photos, {found.failed:,} failed; "
             f"{seconds_text(found.seconds / max(done, 1))} a photo")  # fmt: skip
        for kinds in (found.methods, found.verdicts):
            show("\n".join(f"{count:,}  {kind}" for kind, count in kinds.most_common()))
        cells = [
            [metric_name(name), *(f"{one:.4g}" for one in row.values())] for name, row in found.percentiles.items()
        ]
        show_table(["percentile", *map(str, PERCENTILES)], cells, numeric=range(1, 1 + len(PERCENTILES)))
        if found.worst:
            show("Of lowest PSNR:")
            show_table(["shard", "key", "PSNR"], [[shard, key, f"{psnr:.2f}"] for psnr, shard, key in found.worst])
        if len(found.models) > 1:
            say(f"Note: these are latents of {len(found.models)} models.")
        for place, (shard, key, error) in enumerate(failed_photos(folder) if found.failed else ()):
            if place == LISTED:
                say(f"and {found.failed - LISTED:,} more failed; --failed lists them all.")
                break
            say(f"Failed in {shard}: {error if key in error else f'{key}: {error}'}")
    for error in found.broken:
        complain(error)
    if found.broken:
        raise typer.Exit(FAILED)


def _show(result: ShardsResult) -> None:
    """What came of some shards, in words."""
    now = [one for one in result.done if not one.done_before]
    photos, failed = sum(one.photos for one in now), sum(one.failed for one in now)
    show(
        f"{len(now):,} shards with {photos:,} photos inverted, {failed:,} of them failed; `ganenc index {result.out}`."
    )
    refined = sum(one.refined for one in now)
    if refined:
        show(f"{refined:,} photos went through the method after one pass.")
    if len(now) < len(result.done):
        say(f"{len(result.done) - len(now):,} shards were done before; --overwrite does them anew.")
    if result.others:
        say(f"{result.others:,} shards are other processes'.")
