"""Makes the pictures of the gallery: ``python docs/gallery.py``, or one of them again: ``--only mixed.png``.

Models and photos are those that come along, and none is chosen by hand: samples are the first of seed 0, photos are
those kept out of all training, in the order of their names, or every so many of them. GANs of others are tried by
`benchmarks/others.py`, minutes to an hour each, unless `runs/others` has what they gave.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import ganenc
import torch
from ganenc import editing, images
from ganenc.files import write_bytes
from ganenc.images import sheet
from ganenc.objectives import build_attention, context_for, pictures
from ganenc_plugin_hands.models import MODELS, PHOTOS
from PIL import Image
from skimage import data
from torch import Tensor
from torch.nn import functional as F

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import others

FOLDER = Path(__file__).parent / "gallery"
MODEL = "stylegan2-hands64"
BACKBONE = "hands"
SAMPLES = 8
EVERY = 3
"""Every so many of the photos is inverted step by step."""
STEPS = 160
"""Of `finetune+refine`, a photo."""
DRAWS = 600
"""To find the direction from."""
TOWARDS = 5
"""The digit that the edit leads to: the open hand."""
MIXED = range(4, 10)
"""The layers of styles that come from the other photo."""
FRAMES = 12
AMPLIFIED = 4
FACES = "mobilestylegan-ffhq-1024"
AXES = (0, 2, 3)
"""The principal components along which faces are moved: the first, and two that turn and light the head."""
FAR = 1.5
"""How far, in deviations of w."""
SIDE = 144
"""Pixels to which faces of 1024 are made small."""


def samples() -> bytes:
    """The first samples of seed 0, a row for each family."""
    return tiles(torch.cat([ganenc.load(name).generate(SAMPLES, seed=0).images for name in MODELS]), SAMPLES)


def encoded() -> bytes:
    """Every other photo, and what one pass of each family's encoder makes of it, a row for each."""
    chosen = photos()[::2]
    rows = [ganenc.load(name).invert(chosen, "encode").reconstructions for name in MODELS]
    return tiles(torch.cat([chosen, *rows]), len(chosen))


def inverted() -> bytes:
    """Photos, one pass of the encoder, `finetune+refine`, and what it leaves, amplified; a row for each."""
    chosen = photos()[::EVERY]
    quick = model().invert(chosen, "encode").reconstructions
    best = inversion().reconstructions
    difference = ((best.clamp(-1, 1) - chosen) * AMPLIFIED / 2).clamp(-1, 1)
    return tiles(torch.cat([chosen, quick, best, difference]), len(chosen))


def attention() -> bytes:
    """What attentions see in the first photo, and in the same made small, in a corner; a row for each."""
    photo = images.read(images.find(PHOTOS)[0])[None]
    half = F.interpolate(photo, scale_factor=0.5, mode="bicubic", antialias=True).clamp(-1, 1)
    free = photo.shape[-1] - half.shape[-1]
    corner = F.pad(half, (free, 0, free, 0), mode="replicate")
    return images.png_bytes(
        sheet([look("center", photo), look("gradcam", photo), look("center", corner), look("gradcam-crop", corner)])
    )


def edited() -> bytes:
    """Photos, and their inversions along a direction from -3 to 3 deviations; a row for each."""
    generator, encoder = model().generator, model().encoder
    drawn, scores = editing.label_draws(generator, ganenc.load_backbone(BACKBONE), DRAWS, encoder=encoder)
    way = editing.find_by_labels(generator, drawn, editing.margin(scores, TOWARDS), name=f"class-{TOWARDS}")
    print(f"{way.name}: {way.info}")
    strengths = torch.linspace(-3, 3, 7)
    rows = []
    for photo, latents in zip(photos()[::EVERY], inversion().latents):
        moved = editing.render(generator, way.apply(latents.expand(len(strengths)), strengths))
        rows.append(torch.cat([photo[None], moved]))
    return tiles(torch.cat(rows), 1 + len(strengths))


def interpolated() -> bytes:
    """The way from the first inversion to the last, in nine steps."""
    return tiles(editing.render(model().generator, way_between(9)), 9)


def animated() -> bytes:
    """The same way, there and back."""
    return editing.animation_bytes(
        editing.there_and_back(editing.render(model().generator, way_between(FRAMES))), "WEBP"
    )


def mixed() -> bytes:
    """Inversions down the side with the high layers' styles of those along the top."""
    found, generator = inversion(), model().generator
    latents, made = list(found.latents), found.reconstructions
    rows = [torch.cat([torch.ones_like(made[:1]), made])]
    for own, shape in zip(made, latents):
        mixes = torch.cat([editing.render(generator, editing.mix(shape, style, MIXED)) for style in latents])
        rows.append(torch.cat([own[None], mixes]))
    return tiles(torch.cat(rows), 1 + len(latents))


def faces() -> bytes:
    """An astronaut's photo (public domain), rebuilt, and a face that the generator made: both moved to and fro along
    principal components of w; a row for each."""
    model = ganenc.load(FACES, backbone="squeeze")
    ways = [editing.find_by_pca(model.generator, max(AXES) + 1)[axis] for axis in AXES]
    found = model.invert(data.astronaut(), {"name": "optimize", "options": {"steps": 100}}, align="face")
    drawn = model.generate(1, seed=1)
    rows = []
    for first, latents in ((found.targets, found.latents), (drawn.images, drawn.latents)):
        moved = [editing.render(model.generator, way.apply(latents, far)) for way in ways for far in (-FAR, FAR)]
        row = [first, editing.render(model.generator, latents), *moved]
        rows += [F.interpolate(one, size=(SIDE, SIDE), mode="area") for one in row]
    return webp(images.to_image(images.grid(torch.cat(rows), 2 + 2 * len(ways))))


def another(name: str) -> bytes:
    """A GAN that others trained: samples and, on the right, a picture in the public domain; one pass; step by step."""
    work = others.WORK / f"{name}-{others.STEPS}"
    print(f"{name}: {others.everything(name, work)}")
    return webp(others.picture(work))


PICTURES: dict[str, Callable[[], bytes]] = {
    "samples.png": samples,
    "encoded.png": encoded,
    "inverted.png": inverted,
    "attention.png": attention,
    "edited.png": edited,
    "interpolated.png": interpolated,
    "interpolated.webp": animated,
    "mixed.png": mixed,
    "faces.webp": faces,
    **{f"{name.partition('.')[0]}.webp": partial(another, name) for name in others.GANS},
}
"""What makes each file of the gallery."""


@cache
def model() -> ganenc.Model:
    """Of what is inverted and edited."""
    return ganenc.load(MODEL)


@cache
def photos() -> Tensor:
    """All photos kept out of training, in the order of their names (N, 3, 64, 64) from -1 to 1."""
    return torch.stack([model().read(photo).target for photo in images.find(PHOTOS)])


@cache
def inversion() -> ganenc.Inverted:
    """Some of the photos, inverted step by step; done once for all pictures that show it."""
    return model().invert(photos()[::EVERY], {"name": "finetune+refine", "options": {"steps": STEPS}})


def way_between(steps: int) -> ganenc.Latents:
    """Latents from the first inversion to the last."""
    latents = inversion().latents
    return editing.interpolate(latents[:1], latents[len(latents) - 1 :], steps)


def look(name: str, image: Tensor) -> dict[str, Tensor]:
    """What an attention sees in an image (1, 3, H, W), by captions."""
    chosen = build_attention(name, context_for(BACKBONE))
    with torch.no_grad():
        seen = pictures(chosen, image, chosen.prepare(image))
    return {f"{name}: {view}": picture[0] for view, picture in seen.items()}


def webp(image: Image.Image) -> bytes:
    """As a WebP file, a little loss allowed."""
    made = io.BytesIO()
    image.save(made, "WEBP", quality=88)
    return made.getvalue()


def tiles(made: Tensor, columns: int) -> bytes:
    """Images (N, 3, H, W) from -1 to 1 side by side, each pixel doubled, as a PNG file."""
    return images.png_bytes(images.grid(made.repeat_interleave(2, 2).repeat_interleave(2, 3), columns))


def main() -> None:
    """Make all pictures, or those that are asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", choices=sorted(PICTURES), help="this file; may be given again")
    parser.add_argument("--out", type=Path, default=FOLDER, help="the folder to write to")
    given = parser.parse_args()
    for name in given.only or PICTURES:
        write_bytes(given.out / name, PICTURES[name](), replace=True)
        print(given.out / name)


if __name__ == "__main__":
    main()
