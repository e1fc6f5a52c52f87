"""What is odd, found by generators of what is normal, beside plain auto-encoders, PCA and nearest neighbours.

Each way gives differences (scores, and maps where it has some); all are calibrated by the same normal images, which no
training saw, and judged by the same rule. GANs and auto-encoders are trained into ``--work``, from where they stopped.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import RESULTS, parser, publish, set_threads, table
from _odd import Kind, auto_encoder, digits, hands, told_seconds, trained
from ganenc import Model, images, load
from ganenc.files import hash_tensors
from ganenc.images import heat_over, sheet
from ganenc.inversion import default_method
from ganenc.measures import CHUNK, SCORES, Calibration, Comparer, Differences, Oddity, detection
from ganenc.objectives import Backbone, load_backbone
from PIL import Image, ImageDraw
from sklearn.decomposition import PCA
from torch import Tensor
from torch.nn import functional as F

HANDS = Path("../shared/data/hands")
PICTURE = RESULTS.parents[1] / "docs" / "how-to" / "score.png"
RATE, RESAMPLES = 0.05, 1000
SHOWN = 6
Way = Callable[[Tensor], Differences]
"""Images (N, C, H, W) from -1 to 1 => how they differ from what is normal."""
Ways = dict[str, tuple[Callable[[], Way], dict[str, list[str]]]]
"""By name, what makes a way, and the scores that are taken of it, by name."""
NAMES = [*SCORES[:4], "f-anogan", "peak"]


def by_model(model: Model, method: Any, backbone: Backbone, features: Any = None) -> Way:
    """By what a method makes of images with a generator."""
    names = [name for name in NAMES if features is None or name != "lpips"]
    compare = Comparer(model.context, model.own_latents, names=names, backbone=backbone, features=features)

    def differ(photos: Tensor) -> Differences:
        found = []
        for some in photos.split(CHUNK):
            done = model.invert(some, method)
            found.append(compare(done.targets, done.reconstructions, done.latents))
        return Differences.cat(found)

    return differ


def by_rebuilding(rebuild: Callable[[Tensor], Tensor], model: Model, backbone: Backbone) -> Way:
    """By what anything else makes of images, which has no latents of a generator's."""
    names = [name for name in NAMES if name != "latents"]
    compare = Comparer(model.context, model.own_latents, names=names, backbone=backbone)
    empty: Any = None

    def differ(photos: Tensor) -> Differences:
        return Differences.cat([compare(some, rebuild(some), empty) for some in photos.split(CHUNK)])

    return differ


def by_neighbours(training: Tensor, backbone: Backbone) -> Way:
    """By the distance of features to the nearest of the training: of whole images, and of places of a middle layer."""

    @torch.no_grad()
    def seen(photos: Tensor) -> tuple[Tensor, Tensor]:
        layers = [backbone(backbone.fit(some)).features for some in photos.split(CHUNK)]
        whole, middle = (torch.cat([one[place].float() for one in layers]) for place in (-1, len(layers[0]) // 2))
        return whole.mean((2, 3)), F.avg_pool2d(middle, 3, 1, 1, count_include_pad=False)

    known, patches = seen(training)
    patches = patches.permute(0, 2, 3, 1).flatten(0, 2)
    few = torch.randperm(len(patches), generator=torch.Generator().manual_seed(0))[:20_000]
    patches = patches[few]

    def differ(photos: Tensor) -> Differences:
        whole, places = seen(photos)
        count, _, height, width = places.shape
        flat = places.permute(0, 2, 3, 1).flatten(0, 2)
        near = torch.cat([torch.cdist(some, patches).min(1)[0] for some in flat.split(2048)])
        maps = near.reshape(count, 1, height, width)
        large = F.interpolate(maps, photos.shape[2:], mode="bilinear", align_corners=False)
        return Differences(
            {"nearest photo": torch.cdist(whole, known).min(1)[0].double(), "places": maps.double().mean((1, 2, 3))},
            {"places": large},
        )

    return differ


class Judged:
    """What a way finds, by any of its scores."""

    def __init__(self, normal: Differences, tested: Differences, truth: Tensor, masks: Tensor | None) -> None:
        self.normal, self.tested, self.truth, self.masks = normal, tested, truth, masks

    def by(self, names: Sequence[str]) -> tuple[Oddity, dict[str, float]]:
        """Judged by some scores together, and how well that went."""
        calibration = Calibration.of(self.normal, names, model_hash="", method="encode")
        size = next(iter(self.tested.maps.values())).shape[2:]
        found = Oddity(**calibration.judge(self.tested, size, RATE))
        return found, detection(found, self.truth, self.masks)

    def row(self, names: Sequence[str]) -> list[str]:
        """AUROC with an interval of 95% by a bootstrap over photos, and the rest."""
        found, numbers = self.by(names)
        low, high = np.quantile(redrawn(found.pred_score.numpy(), self.truth.numpy()), [0.025, 0.975])
        cells = [f"{numbers['image_AUROC']:.3f} ({low:.3f} to {high:.3f})"]
        cells += [f"{numbers[name]:.2f}" for name in ("image_F1Score", "false_alarms", "found")]
        if self.masks is not None:
            cells += [f"{numbers[name]:.3f}" for name in ("pixel_AUROC", "pixel_AUPRO")]
        return cells


def redrawn(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """AUROC, as often as `RESAMPLES`, of photos of each kind drawn again."""
    random = np.random.default_rng(0)
    above = (scores[truth][:, None] > scores[~truth]) + 0.5 * (scores[truth][:, None] == scores[~truth])
    odd, normal = (random.integers(size, size=(RESAMPLES, size)) for size in above.shape)
    return np.array([above[one][:, other].mean() for one, other in zip(odd, normal, strict=True)])


def kept(work: Path, key: str, way: Callable[[], Way], photos: Tensor) -> Differences:
    """What a way gives of images, which is not computed again."""
    path = work / "differences" / f"{key}-{hash_tensors({'photos': photos})[:8]}.pt"
    if not path.is_file():
        found = way()(photos)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"scores": dict(found.scores), "maps": dict(found.maps)}, path)
        print(path.name, flush=True)
    return Differences(**torch.load(path, weights_only=True))


GAN = {
    "all": list(SCORES), "pixels": ["pixels"], "LPIPS": ["lpips"], "features": ["features"], "latents": ["latents"],
    "f-AnoGAN": ["f-anogan"], "peak": ["peak"],
}  # fmt: skip
PLAIN = {"all": [name for name in SCORES if name != "latents"], "pixels": ["pixels"], "peak": ["peak"]}
NEAR = {"nearest photo": ["nearest photo"], "nearest places": ["places"], "the farthest place": ["peak"]}


def compared(
    key: str,
    ways: Ways,
    work: Path,
    calibration: Tensor,
    tested: Tensor,
    truth: Tensor,
    masks: Tensor | None = None,
) -> tuple[list[list[str]], dict[str, dict[str, float]], dict[str, Judged]]:
    """The rows of every way and its scores; AUROC by way and score; what each found."""
    rows, numbers, all_judged = [], {}, {}
    for name, (way, sets) in ways.items():
        made: list[Way] = []

        def once(way: Callable[[], Way] = way, made: list[Way] = made) -> Way:
            made.extend([] if made else [way()])
            return made[0]

        plain = f"{key}-{name.replace(' ', '-').replace(',', '')}"
        judged = Judged(*(kept(work, plain, once, some) for some in (calibration, tested)), truth, masks)
        all_judged[name] = judged
        for told, names in sets.items():
            rows.append([name, told, *judged.row(names)])
            numbers[f"{name}: {told}"] = judged.by(names)[1]
    return rows, numbers, all_judged


def by_steps(model: Model, steps: int, backbone: Backbone) -> Ways:
    """By latents sought from one pass on, once for each photo, held to what the generator draws; none by no steps."""
    method = {
        "name": "optimize",
        "options": {**default_method(True, "fill")["options"], "steps": steps, "starts": 1},
    }
    return {f"GAN, {steps} steps": (lambda: by_model(model, method, backbone), GAN)} if steps else {}


def by_components(training: Tensor, count: int, model: Model, backbone: Backbone) -> Way:
    """By what principal components make of images."""
    fitted = PCA(min(count, len(training) - 1), random_state=0).fit(training.flatten(1).numpy())

    def rebuild(some: Tensor) -> Tensor:
        made = fitted.inverse_transform(fitted.transform(some.flatten(1).numpy()))
        return torch.from_numpy(made).reshape(some.shape).float()

    return by_rebuilding(rebuild, model, backbone)


def ways_of(kind: Kind, work: Path, steps: int, share: float = 1.0, limit: float | None = None) -> Ways:
    """All ways, trained on a kind alone."""
    model, discriminator, seconds = trained(kind, work, share=share)
    seconds = seconds if limit is None else min(seconds, limit)
    squeeze, training = load_backbone("squeeze"), floats(kind.training)
    parts = [model.generator, *([] if model.encoder is None else [model.encoder])]
    size = sum(one.numel() for part in parts for one in part.parameters())

    def features(photos: Tensor) -> Tensor:
        found: Tensor = discriminator.blocks(F.leaky_relu(discriminator.from_rgb(photos), 0.2) * 2**0.5)
        return found

    by_features = {"features": ["features"], "f-AnoGAN": ["f-anogan"]}
    return {
        "GAN, one pass": (lambda: by_model(model, "encode", squeeze), GAN),
        "GAN, one pass, discriminator": (lambda: by_model(model, "encode", squeeze, features), by_features),
        **by_steps(model, steps, squeeze),
        "auto-encoder": (lambda: by_rebuilding(auto_encoder(kind, work, size, seconds), model, squeeze), PLAIN),
        "PCA": (lambda: by_components(training, kind.dim, model, squeeze), PLAIN),
        "nearest neighbour": (lambda: by_neighbours(training, squeeze), NEAR),
    }


def floats(photos: Tensor) -> Tensor:
    """8 bits from -1 to 1."""
    return photos.float() / 127.5 - 1


def damaged(photos: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Photos uint8 (N, 3, H, W), each with a defect painted or pasted in, and where, bool (N, 1, H, W): by turns a blot
    of one colour, a scratch, and a piece of the next photo."""
    random, side = np.random.default_rng(seed), photos.shape[-1]
    made, masks = [], []
    for place, photo in enumerate(photos):
        mask = Image.new("L", (side, side))
        x, y = (int(one) for one in random.integers(side // 4, 3 * side // 4, 2))
        wide, high = (int(one) for one in random.integers(side // 16, side // 7, 2))
        pen, colour = ImageDraw.Draw(mask), torch.tensor(random.integers(0, 256, 3), dtype=torch.uint8)
        if place % 3 == 1:
            end = (x + int(random.integers(-side // 4, side // 4 + 1)), y + int(random.integers(side // 8, side // 4)))
            pen.line([(x, y), end], fill=255, width=max(1, side // 32))
        else:
            (pen.ellipse if place % 3 == 0 else pen.rectangle)((x - wide, y - high, x + wide, y + high), fill=255)
        inside = torch.from_numpy(np.asarray(mask) > 0)[None]
        other = photos[(place + 1) % len(photos)].roll((side // 3, side // 5), (1, 2))
        made.append(torch.where(inside, other if place % 3 == 2 else colour[:, None, None], photo))
        masks.append(inside)
    return torch.stack(made), torch.stack(masks)


def shipped_photos(folder: Path, count: int) -> Tensor:
    """Photos of all digits, as many of each, shuffled, uint8 (N, 3, 64, 64); the shipped models saw all but twelve."""
    files = [sorted((folder / str(digit)).glob("*.JPG"))[2::1] for digit in range(10)]
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0)).tolist()
    chosen = [files[place % 10][3 * (place // 10)] for place in order]
    return torch.stack([images.to_uint8(images.read(file, size=(64, 64)), (-1.0, 1.0)) for file in chosen])


def picture(model: Model, photos: Tensor, masks: Tensor, judged: Judged, places: Sequence[int]) -> Tensor:
    """Photos with a defect, what was made of them, the maps, and what is called odd."""
    found, _ = judged.by(list(SCORES))
    made = model.invert(photos[list(places)], "encode").reconstructions
    level = Calibration.of(judged.normal, list(SCORES), model_hash="", method="encode").threshold(RATE, maps=True)
    rows = []
    for at, place in enumerate(places):
        heat = heat_over(photos[place][None], (found.anomaly_map[place][None] / (2 * level)).clamp(0, 1))[0]
        called = found.pred_mask[place].float().expand(3, -1, -1) * 2 - 1
        score = float(found.pred_score[place])
        told = {
            f"photo, {score:.1f}" + (", odd" if found.pred_label[place] else ""): photos[place], "one pass": made[at],
            "map": heat, "above the threshold": called, "truth": masks[place].float().expand(3, -1, -1) * 2 - 1,
        }  # fmt: skip
        rows.append({name: images.to_uint8(one, (-1.0, 1.0)) for name, one in told.items()})
    return sheet(rows)


HEADER = ["way", "scores", "AUROC (95 %)", "F1", "false alarms", "found"]


def best(numbers: dict[str, dict[str, float]], measure: str = "image_AUROC") -> str:
    """Who is ahead: all scores of the GAN together, its best score, and the best of everything else."""
    gan = {name: row[measure] for name, row in numbers.items() if name.startswith("GAN")}
    other = {name: row[measure] for name, row in numbers.items() if not name.startswith("GAN")}
    top, rival = max(gan, key=gan.__getitem__), max(other, key=other.__getitem__)
    verdict = "the GAN is ahead" if gan["GAN, one pass: all"] > other[rival] else "the GAN loses"
    return (
        f"all scores of one pass {gan['GAN, one pass: all']:.3f}, the GAN's best, picked afterwards, {gan[top]:.3f}"
        f" ({top.removeprefix('GAN, ')}); the best of the others, picked afterwards, {other[rival]:.3f} ({rival}): with"
        f" what is taken by default, {verdict}"
    )


def hands_part(photos: Path, work: Path, steps: int, limit: float | None) -> str:
    """Digits that no training saw."""
    kind = hands(photos)
    tested = floats(torch.cat([kind.normal, kind.odd]))
    truth, known = torch.arange(len(tested)) >= len(kind.normal), floats(kind.calibration)
    rows, numbers, _ = compared("hands", ways_of(kind, work, steps, limit=limit), work, known, tested, truth)
    return (
        f"## Hands: digits 0 to 4 are normal, 5 to 9 odd\n\nA StyleGAN2 of 32x32 pixels and its encoder, trained from"
        f" nothing on {len(kind.training)} photos of the digits 0 to 4; {len(known)} others calibrate,"
        f" {len(kind.normal)} normal and {len(kind.odd)} odd ones test. It is one training: intervals are of the"
        " photos alone. The backbone is squeeze, as the hands' own has learnt all ten digits."
        f" {told_seconds(kind, work)}\n\n{table(HEADER, rows)}\n\nAUROC: {best(numbers)}."
    )


def defects_part(folder: Path, work: Path, steps: int, draw: bool) -> str:
    """Defects of known place."""
    model, own, photos = load("stylegan2-hands64"), load_backbone("hands"), shipped_photos(folder, 560)
    known, clean, (spoilt, places), training = photos[:60], photos[60:100], damaged(photos[100:140]), photos[140:]
    masks = torch.cat([torch.zeros(len(clean), *places.shape[1:], dtype=torch.bool), places])
    tested = floats(torch.cat([clean, spoilt]))
    ways: Ways = {
        "GAN, one pass": (lambda: by_model(model, "encode", own), GAN),
        **by_steps(model, steps, own),
        "PCA": (lambda: by_components(floats(training), 128, model, own), PLAIN),
        "nearest neighbour": (lambda: by_neighbours(floats(training), own), NEAR),
    }
    rows, numbers, judged = compared("defects", ways, work, floats(known), tested, masks.flatten(1).any(1), masks)
    if draw:
        scores = judged["GAN, one pass"].by(list(SCORES))[0].pred_score[len(clean) :]
        ordered = (len(clean) + scores.argsort(descending=True)).tolist()
        shown = [ordered[round(at * (len(ordered) - 1) / (SHOWN - 1))] for at in range(SHOWN)]
        images.write_png(
            PICTURE, picture(model, tested, masks, judged["GAN, one pass"], shown), replace=True, sheet=True
        )
    return (
        f"## Hands with a defect painted or pasted in\n\n`stylegan2-hands64` with its encoder and backbone;"
        f" {len(known)} photos calibrate, {len(clean)} clean ones and {len(spoilt)} with a defect (a blot, a scratch,"
        " or a piece of another photo) test. The shipped model saw nearly all photos in training, those that calibrate"
        f" and those that test alike; the defects it did not. PCA and neighbours know {len(training)} other photos."
        " An auto-encoder trained as long as that model would take hours, and is left out."
        f"\n\n{table([*HEADER, 'AUROC of pixels', 'AUPRO'], rows)}\n\nAUROC of photos: {best(numbers)}. AUROC of"
        f" pixels: {best(numbers, 'pixel_AUROC')}."
    )


def digits_part(work: Path, steps: int, seeds: int, classes: Sequence[int], share: float) -> str:
    """One class against the rest."""
    found: dict[str, list[tuple[int, float, np.ndarray]]] = {}
    for seed in range(seeds):
        for one in classes:
            kind = digits(one, seed)
            tested = floats(torch.cat([kind.normal, kind.odd]))
            truth, known = torch.arange(len(tested)) >= len(kind.normal), floats(kind.calibration)
            ways = ways_of(kind, work, steps, share)
            _, numbers, judged = compared(kind.name, ways, work, known, tested, truth)
            for way, (_, sets) in ways.items():
                for told, names in sets.items():
                    drawn = redrawn(judged[way].by(names)[0].pred_score.numpy(), truth.numpy())
                    name = f"{way}: {told}"
                    found.setdefault(name, []).append((one, numbers[name]["image_AUROC"], drawn))
    rows, means = [], {}
    for name, each in found.items():
        means[name] = {"image_AUROC": statistics.fmean(value for _, value, _ in each)}
        low, high = np.quantile(np.mean([drawn for *_, drawn in each], 0), [0.025, 0.975])
        of_class = [[value for label, value, _ in each if label == one] for one in classes]
        told = [f"{statistics.fmean(some):.3f} ({min(some):.3f} to {max(some):.3f})" for some in of_class]
        rows.append([*name.split(": "), f"{means[name]['image_AUROC']:.3f} ({low:.3f} to {high:.3f})", *told])
    header = ["way", "scores", "AUROC (95 %)", *(f"of {one} (seeds)" for one in classes)]
    return (
        f"## scikit-learn's digits, 8x8: one is normal, the others odd\n\nA StyleGAN2 of 8x8 pixels for each of the"
        f" classes {', '.join(map(str, classes))} and of {seeds} seeds, of the training and of which of some 175 images"
        " train, calibrate and test. The mean of all, with its interval over photos, and of each class, with the lowest"
        f" and the highest of the seeds.\n\n{table(header, rows)}\n\nAUROC: {best(means)}."
    )


def main() -> None:
    """Score all that there is, and print the tables."""
    options = parser("odd", __doc__)
    options.add_argument("--hands", type=Path, default=HANDS, help="the folder of photos of hands, in `0` to `9`")
    options.add_argument("--work", type=Path, default=Path("runs/odd"), help="keeps what is trained and computed")
    options.add_argument("--steps", type=int, nargs=3, default=[30, 30, 30], help="to seek latents in, for each part")
    options.add_argument(
        "--plain-seconds", type=float, help="of the hands' auto-encoder at most; as the GAN by default"
    )
    options.add_argument("--seeds", type=int, default=2, help="of digits")
    options.add_argument("--classes", type=int, nargs="+", default=[0, 1, 8], help="of digits")
    options.add_argument("--parts", nargs="+", choices=["hands", "defects", "digits"])
    chosen = options.parse_args()
    set_threads(chosen.threads)
    if chosen.quick:
        chosen.steps, chosen.seeds, chosen.classes, chosen.parts = [2] * 3, 1, [0], ["digits"]
    share = 0.05 if chosen.quick else 1.0
    parts = {
        "hands": lambda: hands_part(chosen.hands, chosen.work, chosen.steps[0], chosen.plain_seconds),
        "defects": lambda: defects_part(chosen.hands, chosen.work, chosen.steps[1], not chosen.quick),
        "digits": lambda: digits_part(chosen.work, chosen.steps[2], chosen.seeds, chosen.classes, share),
    }
    intro = (
        "Thresholds are for 5% of false alarms. `all` is what `ganenc score` takes by default; auto-encoder and PCA are"
        " judged by the same scores but the distance of latents. The auto-encoder has as many weights as GAN and"
        " encoder; PCA has as many components as z has numbers; steps are those of `optimize`. Intervals are of 95%, by"
        " a bootstrap over photos: more trainings are too dear. Which score is best is known afterwards, by odd photos;"
        " before, it is `all`."
    )
    body = [intro, *(parts[name]() for name in chosen.parts or parts)]
    publish("odd", "Odd photos, found", "\n\n".join(body), out=chosen.out, quick=chosen.quick, threads=chosen.threads)


if __name__ == "__main__":
    main()
