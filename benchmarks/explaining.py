"""Photos kept out, changed as little as a classifier takes to say another digit, beside a straight line to its mean.

The digit that is asked for is the one that the classifier finds the most likely of all others, or the next one.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from _common import RESULTS, parser, publish, set_threads, table
from ganenc import Model, images, load
from ganenc.editing import PROBABILITY, Explained, label_draws, margin, render
from ganenc.latents import Latents
from ganenc.measures import classify
from ganenc.objectives import load_backbone
from ganenc_plugin_hands.models import PHOTOS
from torch import Tensor

PICTURE = RESULTS.parents[1] / "docs" / "how-to" / "explain.png"
SHOWN = 4
"""Photos in the picture."""
RULES = {"likeliest": "the likeliest other digit", "next": "the next digit, whatever the classifier thinks of it"}
"""Which digits may be asked for."""


def straight(model: Model, start: Latents, mean: Latents, target: int) -> tuple[bool, Tensor]:
    """Whether the straight line to a mean comes to where the classifier says the class, and the image where it first
    does, or that of the mean (1, C, H, W)."""
    shares = torch.linspace(0, 1, 41)
    names = [name for name in mean.tensors if not torch.equal(mean[name], start[name])]
    parts = {name: torch.cat([start[name].lerp(mean[name], float(one)) for one in shares]) for name in names}
    made = render(model.generator, start.expand(len(shares)).replace(**parts))
    gaps = margin(classify(model.generator, load_backbone("hands"), made), target)
    there = (gaps >= math.log(PROBABILITY / (1 - PROBABILITY))).nonzero()
    at = int(there[0]) if len(there) else -1
    return bool(len(there)), made[at][None]


def again(model: Model, found: Explained, target: int) -> bool:
    """Whether the classifier says the class of the image in 8 bits, too."""
    spec = model.generator.spec
    eight = images.to_uint8(found.images[-1:], spec.value_range).float()
    seen = images.convert_range(eight, (0.0, 255.0), spec.value_range)
    return int(classify(model.generator, load_backbone("hands"), seen).argmax()) == target


def main() -> None:
    """Explain every photo, and print the table."""
    options = parser("explaining", __doc__)
    options.add_argument("--photos", type=int, default=12)
    options.add_argument("--draws", type=int, default=200, help="of which the means of classes are taken")
    options.add_argument("--rules", nargs="+", choices=RULES, default=[*RULES], help="which digits are asked for")
    chosen = options.parse_args()
    set_threads(chosen.threads)
    if chosen.quick:
        chosen.photos, chosen.draws, chosen.rules = 1, 100, ["likeliest"]
    model = load("stylegan2-hands64")
    (lpips,) = model.metrics(["lpips"]).values()
    drawn, logits = label_draws(model.generator, load_backbone("hands"), chosen.draws, encoder=model.encoder)
    said = logits.argmax(1)
    rows: list[list[str]] = []
    body: list[str] = []
    shown: list[dict[str, Tensor]] = []
    for rule in chosen.rules:
        kept: list[tuple[Explained, bool, float, bool, float]] = []
        for file in sorted(Path(PHOTOS).glob("*.jpg"))[: chosen.photos]:
            start = model.encode(file)
            before = classify(model.generator, load_backbone("hands"), render(model.generator, start))[0]
            first = int(before.argmax())
            target = int(before.topk(2).indices[1]) if rule == "likeliest" else (first + 1) % 10
            found = model.explain(start, "hands", target, steps=20 if chosen.quick else 400)
            mean = drawn.select((said == target).nonzero()[:, 0])
            mean = start.replace(**{name: mean[name].mean(0, keepdim=True) for name in mean.tensors if name in start})
            comes, end = straight(model, start, mean, target)
            near, far = (float(lpips(found.images[:1], one)[0]) for one in (found.images[-1:], end))  # type: ignore[index]
            kept.append((found, found.flipped and again(model, found, target), near, comes, far))
            rows.append([
                rule, file.name, f"{first} to {target}", f"{found.probabilities[-1, target]:.2f}",
                f"{found.facts['length']:.1f}", " ".join(f"{name}: {far:.1f}" for name, far in found.changes.items()),
                f"{near:.3f}", f"{far:.3f}{'' if comes else ' (not said)'}", f"{100 * found.random:.0f} %",
            ])  # fmt: skip
            print(*rows[-1], flush=True)
            if rule == "likeliest" and len(shown) < SHOWN:
                heat = images.heat_over(found.images[:1], found.map / found.map.max().clamp(min=1e-6))
                row = {
                    f"{int(one.argmax())} ({one.max():.2f})" + " " * place: picture
                    for place, (one, picture) in enumerate(zip(found.probabilities, found.images))
                }
                shown.append({f"{file.stem}": model.read(file).target, **row, "what changed": heat[0]})
        near, far = sum(one[2] for one in kept) / len(kept), sum(one[4] for one in kept) / len(kept)
        body.append(
            f"Asked for {RULES[rule]}: {sum(one[1] for one in kept)} of {len(kept)} photos flipped, in 8 bits, too;"
            f" LPIPS to the unedited {near:.3f}, of the straight line {far:.3f} ({near / far:.2f} times as much), which"
            f" {sum(one[3] for one in kept)} times came to say the digit at all; random changes of the same length:"
            f" {100 * sum(one[0].random for one in kept if one[0].random == one[0].random) / len(kept):.1f} %."
        )
    header = ["rule", "photo", "asked", "p", "deviations", "of which", "LPIPS", "straight line", "random"]
    body += [
        f"Photos by `encode`; said with p of {PROBABILITY:g}; the straight line leads from a photo to the mean"
        f" of the latents, of {chosen.draws} draws encoded, in whose images the classifier sees the digit, and ends"
        " where it first says so.",
        table(header, rows),
        "![From photos to other digits, and what changed](../../docs/how-to/explain.png)",
    ]
    if not chosen.quick:
        images.write_png(PICTURE, images.sheet(shown), replace=True, sheet=True)
    publish(
        "explaining", "What a classifier looks for", "\n\n".join(body), out=chosen.out, quick=chosen.quick,
        threads=chosen.threads,
    )  # fmt: skip


if __name__ == "__main__":
    main()
