"""Photos damaged in known ways, and restored: through the operator, without it, and by methods that know no images.

Hands are the photos kept out of all training. Faces, where a folder of them is given, are cropped to the generator's
size; a GAN that is fetched first is asked for by name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import RESULTS, parser, publish, set_threads, table
from ganenc import Model, images, load
from ganenc.files import hash_tensors
from ganenc.images import sheet
from ganenc.inversion import Mask, Operator, build_operator, default_method
from ganenc.measures import Metric
from ganenc_plugin_hands.models import PHOTOS
from skimage.restoration import inpaint_biharmonic
from torch import Tensor
from torch.nn import functional as F

try:
    import cv2
except ImportError:
    cv2 = None

PICTURE = RESULTS.parents[1] / "docs" / "how-to" / "restore.png"
SHOWN = 2
"""Photos of each damage in the picture."""
WEIGHTS = (3e-4, 1e-3, 3e-3, 1e-2)
"""Of total variation; that is taken which gives the highest PSNR on the photos themselves."""


METHODS: dict[str, dict[str, Any]] = {
    "newton": default_method(True, "restore")["options"],
    "optimize": default_method(True, "fill")["options"],
}
SMOOTHING = 320
"""Steps of total variation."""


def damages(side: int) -> dict[str, tuple[str, str]]:
    """By name, what happens to images of a side, and what is told of it."""
    box = f"mask:box={side // 4},{side // 4},{3 * side // 4},{3 * side // 4}"
    return {
        "4x smaller": ("downscale:4", "downscale:4"),
        "a quarter masked": (box, box),
        "grey": ("grey", "grey"),
        "blurred, sigma unknown": (f"blur:{1.5 * side / 64}", "blur:sigma=?"),
    }


def interpolated(seen: Tensor, operator: Operator, size: tuple[int, int]) -> dict[str, Tensor]:
    """What is done without any model, the images (N, C, H, W) by name."""
    if isinstance(operator, Mask):
        hidden = (~operator.known(torch.ones(1, 1, *size, dtype=torch.bool)))[0, 0].numpy()
        found = [inpaint_biharmonic(np.asarray(one.permute(1, 2, 0)), hidden, channel_axis=2) for one in seen]
        return {"biharmonic": torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).to(seen), **flowed(seen, hidden)}
    if seen.shape[2:] != size:
        return {"bicubic": F.interpolate(seen, size, mode="bicubic", align_corners=False)}
    return {"as it was seen": seen}


def flowed(seen: Tensor, hidden: np.ndarray) -> dict[str, Tensor]:
    """What OpenCV fills in of 8 bits, from 3 pixels around; nothing where it is not installed."""
    if cv2 is None:
        return {}
    eight = [np.ascontiguousarray(images.to_uint8(one).permute(1, 2, 0)) for one in seen]
    ways = {"Telea": cv2.INPAINT_TELEA, "Navier-Stokes": cv2.INPAINT_NS}
    found = {
        name: np.stack([cv2.inpaint(one, hidden.astype(np.uint8), 3, way) for one in eight])
        for name, way in ways.items()
    }
    return {name: torch.from_numpy(one).permute(0, 3, 1, 2).to(seen) / 127.5 - 1 for name, one in found.items()}


def smooth(seen: Tensor, operator: Operator, size: tuple[int, int], weight: float, steps: int) -> Tensor:
    """The least squares of what is seen with the least total variation."""
    known = operator.known(torch.ones(1, 1, *size, dtype=torch.bool))
    found = operator.guess(seen, size).detach().clone().requires_grad_()
    adam = torch.optim.Adam([found], 0.02)
    for _ in range(steps):
        adam.zero_grad()
        down, right = F.pad(found.diff(dim=2), (0, 0, 0, 1)), F.pad(found.diff(dim=3), (0, 1))
        variation = (down.square() + right.square() + 1e-6).sqrt().mean((1, 2, 3))
        ((operator(found) - seen).mul(known).square().mean((1, 2, 3)) + weight * variation).sum().backward()
        adam.step()
    return found.detach()


def restored(
    model: Model, photos: Tensor, name: str, by: str, steps: int
) -> tuple[list[list[object]], dict[str, Tensor]]:
    """Of one damage the rows of the table, and the pictures by name, (N, C, H, W)."""
    metrics, size, (low, high) = model.metrics(), model.generator.spec.size, model.generator.spec.value_range
    happened, told = damages(size[0])[name]
    operator = build_operator(happened, model.context)
    with torch.no_grad():
        seen = operator(photos)
    options = {**METHODS[by], "steps": steps}
    if model.encoder is None:
        options |= {"newton": {"start": "draws"}, "optimize": {"starts": 1}}[by]
    method: dict[str, Any] = {"name": by, "options": options}
    made = interpolated(seen, operator, size)
    if name != "grey":  # Of which it says nothing.
        tried = [smooth(seen, operator, size, weight, SMOOTHING) for weight in WEIGHTS]
        made["total variation"] = max(tried, key=lambda one: sum(metrics["psnr"](one, photos)))  # type: ignore[arg-type]
    done = model.invert(seen, method, operator=told)
    assert done.seen is not None
    assert done.pasted is not None
    if model.encoder is not None:
        made["encoded"] = model.invert(seen, "encode", operator=told).reconstructions
    made["inverted as if nothing had happened"] = model.invert(done.seen.guesses, method).reconstructions
    made |= {"restored": done.reconstructions, "restored, what was seen given back": done.pasted}
    made = {way: one.detach().clamp(low, high) for way, one in made.items()}
    rows: list[list[object]] = []
    for way, one in made.items():
        scores = [sum(metric(photos, one)) / len(photos) for metric in metrics.values()]  # type: ignore[arg-type]
        rows.append([name, way, *(f"{score:.{metric.digits}f}" for score, metric in zip(scores, metrics.values()))])
    if sigmas := [each.found()["sigma"] for each in done.seen.operators if each.found()]:
        true = happened.partition(":")[2]
        rows[-2][1] = f"restored; sigma {min(sigmas):.2f} to {max(sigmas):.2f}, was {true}"
    return rows, {"photo": photos, "seen": F.interpolate(seen, size, mode="nearest"), **made}


def compare(
    model: Model, photos: Tensor, names: list[str], by: str, steps: int, work: Path | None
) -> tuple[list[list[object]], list[dict[str, Tensor]]]:
    """The rows of damages, and their pictures; what lies in ``work`` is not done again."""
    found = []
    for name in names:
        key = hash_tensors({"photos": photos})[:8]
        kept = None if work is None else work / f"{model.source}-{key}-{by}-{steps}-{name.partition(',')[0]}.pt"
        if kept is not None and kept.is_file():
            found.append(torch.load(kept, weights_only=True))
            continue
        found.append(restored(model, photos, name, by, steps))
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            torch.save(found[-1], kept)
        print(table(["damage", "how", *model.metrics()], found[-1][0]), flush=True)
    return [row for rows, _ in found for row in rows], [made for _, made in found]


def matched(model: Model, made: dict[str, Tensor]) -> str:
    """What a restoration of fewer pixels gains in terms of bicubic enlarging, as near by LPIPS from more of them."""
    photos, size, (*_, restored) = made["photo"], model.generator.spec.size, made.values()
    metrics = model.metrics()
    lpips = next(metric for name, metric in metrics.items() if name.startswith("lpips"))

    def mean(metric: Metric, one: Tensor) -> float:
        return sum(metric(photos, one)) / len(photos)  # type: ignore[arg-type]

    wanted, curve = mean(lpips, restored), []
    for factor in (4.0, 3.5, 3.0, 2.5, 2.0, 1.5):
        seen = build_operator(f"downscale:{factor}", model.context)(photos)
        one = F.interpolate(seen, size, mode="bicubic", align_corners=False).clamp(*model.generator.spec.value_range)
        curve.append((mean(lpips, one), factor, mean(metrics["psnr"], one)))
    curve.sort()
    factor, value = (np.interp(wanted, [one[0] for one in curve], [one[at] for one in curve]) for at in (1, 2))
    return (
        f"At 4x bicubic has {curve[-1][2]:.1f} dB. What is given back has an LPIPS of {wanted:.3f}, as bicubic has from"
        f" {factor:.1f}x fewer pixels, with {value:.1f} dB: {value - curve[-1][2]:.1f} dB over bicubic in terms of"
        " bicubic itself, matched by LPIPS."
    )


def picture(shown: list[dict[str, Tensor]], model: Model) -> Tensor:
    """Some photos of each damage: as they were seen, without a model, restored, and as they were."""
    spec, rows = model.generator.spec, []
    for place, made in enumerate(shown):
        names = [*made]
        last = names[-1]
        for at in range(SHOWN):
            number = (place * SHOWN + at) % len(made["photo"])
            wanted = {"seen": "seen", names[2]: names[2], "total variation": "total variation"}
            row = {told: made[name][number] for name, told in wanted.items() if name in made}
            row |= {"restored": made[last][number], "photo": made["photo"][number]}
            rows.append({told: images.to_uint8(one, spec.value_range) for told, one in row.items()})
    return sheet(rows)


def hands() -> tuple[Model, list[Path]]:
    """The model of hands, and the photos kept out of its training."""
    return load("stylegan2-hands64"), sorted(Path(PHOTOS).glob("*.jpg"))


def main() -> None:
    """Damage photos, restore them, and print the tables."""
    options = parser("restoring", __doc__)
    options.add_argument("--method", choices=METHODS, default="newton")
    options.add_argument("--steps", type=int, help="of it; by default as METHODS has them")
    options.add_argument("--photos", type=int, default=12, help="of each kind, at most")
    options.add_argument("--damages", nargs="+", choices=damages(1), default=[*damages(1)])
    options.add_argument("--faces", type=Path, help="a folder of faces")
    options.add_argument("--work", type=Path, help="a folder that keeps what is done, so that it is not done again")
    options.add_argument("--model", default="dcgan-faces-64", help="what makes faces")
    options.add_argument("--backbone", default="squeeze", help="behind LPIPS of faces")
    chosen = options.parse_args()
    set_threads(chosen.threads)
    if chosen.quick:
        chosen.steps, chosen.photos = 4, 2
    steps = chosen.steps or METHODS[chosen.method]["steps"]
    body = [
        f"By `{chosen.method}` with {steps} steps; means of all photos."
        f" Total variation goes down by gradient through the true operator, its weight (of {WEIGHTS}) the best of each"
        " row on these very photos; it is told sigma, the restoration is not.",
    ]
    kinds: list[tuple[str, Callable[[], tuple[Model, list[Path]]]]] = [("Hands", hands)]
    if chosen.faces:
        kinds.append(
            ("Faces", lambda: (load(chosen.model, backbone=chosen.backbone), sorted(chosen.faces.glob("*.jpg"))))
        )
    for kind, get in kinds:
        model, files = get()
        photos = torch.stack([model.read(file).target for file in files[: chosen.photos]])
        rows, shown = compare(model, photos, chosen.damages, chosen.method, steps, chosen.work)
        header = ["damage", "how", *(name if name != "psnr" else "psnr, dB" for name in model.metrics())]
        body.append(f"## {kind}: {len(photos)} photos, {model.source}\n\n{table(header, rows)}")
        if chosen.damages[0] == "4x smaller":
            body.append(matched(model, shown[0]))
        kept = None if chosen.work is None else chosen.work / "faces.png"  # Of people, so not for the repository.
        path = PICTURE if kind == "Hands" else kept
        if path is not None and not chosen.quick and chosen.damages == [*damages(1)]:
            images.write_png(path, picture(shown, model), replace=True, sheet=True)
    body.append("![Photos that were damaged, and restored](../../docs/how-to/restore.png)")
    publish(
        "restoring", "Photos, restored", "\n\n".join(body), out=chosen.out, quick=chosen.quick, threads=chosen.threads
    )


if __name__ == "__main__":
    main()
