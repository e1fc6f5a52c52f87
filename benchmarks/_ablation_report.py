"""The tables of the ablation, and what they say about the paper's claims."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from _ablation import ARMS, SETS
from _common import table

__all__ = ["report"]

Row = Mapping[str, Any]
COLUMNS = {"psnr": (2, 1), "ssim": (3, 1), "lpips-hands": (3, -1), "lpips-squeeze": (3, -1)}
"""Decimals of the metrics, and whether more of them is better."""
TAKEN_ON = {
    "synthesized": "synthesized images that no training drew, one pass",
    "photos": "photos kept out of all training, one pass",
    "inverted": "photos kept out of all training, each inverted by the paper's fine-tuning",
}


@dataclass(frozen=True)
class Claim:
    """Something that the paper says, as a comparison of two arms."""

    text: str
    source: str
    better: str
    worse: str
    stage: str
    images: Sequence[str] = SETS
    other_stage: str = ""


CLAIMS = (
    Claim("One cropped attention is better than none.", "Table 6", "AT1", "none", "strategy-2"),
    Claim("Two are better than none.", "Table 6", "AT1 and AT2", "none", "strategy-2"),
    Claim("Two are better than one.", "Table 6", "AT1 and AT2", "AT1", "strategy-2"),
    Claim(
        "On misaligned images Grad-CAM is better than the centre.",
        "Figure 11",
        "Grad-CAM",
        "AT1 and AT2",
        "strategy-2",
        ("misaligned",),
    ),
    Claim("Image gradients (strategy 2) rebuild better.", "4.3", "none", "none", "strategy-2", SETS, "strategy-1"),
    Claim(
        "SSIM in the loss helps in fine-tuning.", "Table 7", "AT1 and AT2", "AT1 and AT2, no SSIM", "fine-tuning", SETS
    ),
)
OURS = (
    Claim("Cropped attentions help in fine-tuning.", "", "AT1 and AT2", "none", "fine-tuning"),
    Claim("They do at equal time.", "", "AT1 and AT2", "none, as long", "fine-tuning"),
    Claim("They do at equal time in strategy 2.", "", "AT1 and AT2", "none, as long", "strategy-2"),
    Claim("Grad-CAM helps in fine-tuning.", "", "Grad-CAM", "none", "fine-tuning"),
    Claim("Grad-CAM's crops are better than its weights.", "", "Grad-CAM, crops", "Grad-CAM", "fine-tuning"),
    Claim("Grad-CAM's crops help at equal time.", "", "Grad-CAM, crops", "none, as long", "fine-tuning"),
    Claim("SSIM in the loss helps strategy 2.", "", "AT1 and AT2", "AT1 and AT2, no SSIM", "strategy-2"),
)


def report(rows: Sequence[Row]) -> str:
    """Markdown of everything that is done.

    Args:
        rows: one for each training and what it was measured on.
    """
    seeds = len({row["seed"] for row in rows})
    parts = [
        f"Mean over {seeds} seeds, with the deviation between them. *hand* is inside the hand's region. lpips-hands is "
        "the distance that is trained on; lpips-squeeze takes no part in training.",
        "## What it says about the paper",
        _verdicts(rows, CLAIMS),
        "## What it says about our defaults",
        _verdicts(rows, OURS),
    ]
    for stage in dict.fromkeys(row["stage"] for row in rows):
        if stage == "strategy-1":  # Shown beside strategy 2.
            continue
        for on, words in TAKEN_ON.items():
            for of in SETS:
                chosen = [row for row in rows if row["on"] == on and row["images"] == of]
                chosen = [row for row in chosen if row["stage"] in (stage, "strategy-1" if "2" in stage else stage)]
                if any(row["stage"] == stage for row in chosen):
                    parts += [f"## {stage.capitalize().replace('-2', ' 2')}, {of} hands: {words}", _table(chosen)]
    return "\n\n".join(parts)


def _table(rows: Sequence[Row]) -> str:
    metrics = [name for name in COLUMNS if name in rows[0]]
    columns = [f"{name}{ending}" for ending in ("", " hand") for name in metrics]
    lines = []
    for stage in dict.fromkeys(row["stage"] for row in rows):
        for arm in ARMS:
            mine = [row for row in rows if row["arm"] == arm and row["stage"] == stage]
            if mine:
                cells = [_spread([row[name] for row in mine], COLUMNS[name.split()[0]][0]) for name in columns]
                label = "none, strategy 1" if stage == "strategy-1" else arm
                seconds = [row["seconds"] for row in mine if "seconds" in row]
                lines.append([label, *cells, f"{statistics.mean(seconds):.0f}" if seconds else ""])
    return table(["attention", *columns, "seconds"], lines)


def _spread(values: Sequence[float], digits: int) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.{digits}f} ± {deviation:.{digits}f}"


def _verdicts(rows: Sequence[Row], claims: Sequence[Claim]) -> str:
    lines = []
    for claim in claims:
        for of in claim.images:
            for on in ("inverted", "photos") if claim.stage == "fine-tuning" else ("synthesized", "photos"):
                better = _by_seed(rows, claim.stage, of, on, claim.better)
                worse = _by_seed(rows, claim.other_stage or claim.stage, of, on, claim.worse)
                pairs = [(better[seed], worse[seed]) for seed in better if seed in worse]
                if pairs:
                    cells = [_difference(pairs, name) for name in ("psnr", "psnr hand", "ssim", _judge(pairs[0][0]))]
                    text = f"{claim.text} ({claim.source})" if claim.source else claim.text
                    lines.append([text, of, on, *cells])
    judge = _judge(rows[0]) if rows else "lpips"
    legend = (
        "The mean difference between the two arms, seed by seed. **yes**: better with every seed, and by more than the"
        " differences' deviation; **no**: worse in the same way; otherwise open."
    )
    return f"{legend}\n\n" + table(["claim", "hands", "on", "psnr", "psnr hand", "ssim", judge], lines)


def _judge(row: Row) -> str:
    """The LPIPS that took no part in training, if it was measured."""
    return "lpips-squeeze" if "lpips-squeeze" in row else "lpips-hands"


def _by_seed(rows: Sequence[Row], stage: str, images: str, on: str, arm: str) -> dict[int, Row]:
    wanted = {"stage": stage, "images": images, "on": on, "arm": arm}
    return {row["seed"]: row for row in rows if wanted.items() <= row.items()}


def _difference(pairs: Sequence[tuple[Row, Row]], name: str) -> str:
    digits, sign = COLUMNS[name.split()[0]]
    differences = [one[name] - other[name] for one, other in pairs]
    mean = statistics.mean(differences)
    deviation = statistics.stdev(differences) if len(differences) > 1 else 0.0
    word = "open"
    if len(pairs) > 1 and abs(mean) > deviation:
        gains = [sign * difference > 0 for difference in differences]
        word = "**yes**" if all(gains) else "open" if any(gains) else "**no**"
    return f"{mean:+.{digits}f} {word}"
