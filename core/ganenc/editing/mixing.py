"""Editing: images along a direction, the styles of one in another, the way between two, as strips and animations."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from pathlib import Path

import torch
from ganenc_registry.errors import ImageError, LatentsError
from ganenc_registry.specs import Map, Styles, Vector
from PIL import Image
from torch import Tensor

from ganenc.files import MARK, as_count, write_bytes
from ganenc.generators import Generator
from ganenc.images import Range, flatten, to_image
from ganenc.latents import Latents
from ganenc.models import model_hash

SMALLEST = 256
"""Pixels of the shorter side to which smaller images are enlarged in an animation."""
_FORMATS = {".gif": "GIF", ".webp": "WEBP"}


@torch.no_grad()
def render(generator: Generator, latents: Latents, *, batch: int = 8) -> Tensor:
    """The images (N, C, H, W), on the CPU, of latents, a few at a time; a LatentsError if they are another model's."""
    found = model_hash(generator) if latents.model else ""
    if latents.layout != generator.spec.layout or latents.model != found:
        raise LatentsError(
            f"{latents} of the model {latents.model[:12] or '(unknown)'} are not this {generator.spec.family}'s"
            f"{found and f', which is {found[:12]}'}; load the model that they were made with."
        )
    some = (latents.select(slice(first, first + batch)) for first in range(0, len(latents), batch))
    made = [generator.synthesize(one.to(generator.device, generator.dtype)).cpu() for one in some]
    return torch.cat(made) if made else torch.empty(0, generator.spec.channels, *generator.spec.size)


def mix(a: Latents, b: Latents, layers: Iterable[int]) -> Latents:
    """The first latents with the styles of the second on some layers (style mixing, Karras et al., 2019, section 3.1).

    Low layers hold shape and pose, high ones colour and texture; layer 0 brings the maps, such as the constant, too.
    The second are of as many samples, or of one. A LatentsError if models differ, or there are no styles, or not these
    layers.
    """
    other = b.expand(len(a)) if len(b) == 1 else b
    if len(other) != len(a):
        raise LatentsError(f"Mixing takes as many latents as there are, or one; these are {len(a)} and {len(b)}.")
    a.lerp(other, 0.0)  # Refuses those that cannot be combined.
    styles = [part for part in a.layout if isinstance(part, Styles) and part.name in a]
    taken = sorted(set(layers))
    if not styles:
        raise LatentsError(f"{a} have no styles to mix; interpolate instead.")
    count = min(part.layers for part in styles)
    if not taken or taken[0] < 0 or taken[-1] >= count:
        raise LatentsError(f"There are the layers 0 to {count - 1} to mix, not {taken}.")
    mixed = {}
    for part in styles:
        places = torch.tensor(taken, device=a[part.name].device)
        mixed[part.name] = a[part.name].index_copy(1, places, other[part.name][:, taken])
    if taken[0] == 0:
        mixed |= {part.name: other[part.name] for part in a.layout if isinstance(part, Map) and part.name in a}
    return Latents(a.layout, {**a.tensors, **mixed}, space="w+", model=a.model or b.model, info=a.info)


def interpolate(a: Latents, b: Latents, steps: int) -> Latents:
    """The way from one sample to another: latents of ``steps`` samples, the first ``a`` and the last ``b``.

    Vectors of a prior go along the arc between them, so that they stay as long as draws are; all else goes straight. A
    LatentsError if they are not one each, models or spaces differ, or there are fewer than two steps.
    """
    steps = as_count(steps, "steps", 2)
    if len(a) != 1 or len(b) != 1:
        raise LatentsError(f"A way leads from one sample to one other ; these are {len(a)} and {len(b)}.")
    weights = torch.linspace(0, 1, steps)
    way = a.expand(steps).lerp(b.expand(steps), weights)
    way.info = {key: value for key, value in a.info.items() if b.info.get(key) == value}
    arcs = [part.name for part in a.layout if isinstance(part, Vector) and part.name in a]
    return way.replace(**{name: _arc(a[name], b[name], weights) for name in arcs})


def _arc(a: Tensor, b: Tensor, weights: Tensor) -> Tensor:
    """Spherical interpolation (Shoemake, 1985) of the ways that two vectors (1, dim) point; lengths go straight."""
    lengths = torch.lerp(a.norm(), b.norm(), weights.to(a))[:, None]
    one, other = a / a.norm().clamp(min=1e-12), b / b.norm().clamp(min=1e-12)
    angle = math.acos(max(-1.0, min(1.0, float((one * other).sum()))))
    if math.sin(angle) < 1e-4:  # Alike or opposite: there is no one arc.
        return torch.lerp(a, b, weights.to(a)[:, None])
    share = weights.to(a)[:, None]
    arc: Tensor = torch.sin((1 - share) * angle) * one + torch.sin(share * angle) * other
    return lengths * arc / math.sin(angle)


def there_and_back(images: Tensor) -> Tensor:
    """Frames (N, C, H, W) that go to the end and back, so that a loop of them does not jump."""
    return torch.cat([images, images[1:-1].flip(0)])


def animation_bytes(
    images: Tensor, format: str = "GIF", *, seconds: float = 3.0, value_range: Range = (-1.0, 1.0)
) -> bytes:
    """Images (N, C, H, W), at least one (else an ImageError), as an animation, ``GIF`` or ``WEBP``, that loops, a
    round in ``seconds``; small ones are enlarged."""
    if images.ndim != 4 or not len(images):
        raise ImageError(f"An animation takes images (N, C, H, W), not {tuple(images.shape)}.")
    if format not in _FORMATS.values():
        raise ImageError(f"Animations are written as GIF or WEBP, not as {format}.")
    factor = -(-SMALLEST // min(images.shape[-2:]))
    size = (images.shape[-1] * factor, images.shape[-2] * factor)
    frames = []
    for image in images:
        frame = flatten(to_image(image, value_range)).convert("RGB")
        frames.append(frame.resize(size, Image.Resampling.BICUBIC) if factor > 1 else frame)
    webp = {"lossless": False, "quality": 90, "xmp": MARK.encode()}
    options = webp if format == "WEBP" else {"disposal": 2, "comment": MARK}
    buffer, each = io.BytesIO(), max(20, round(1000 * seconds / len(frames)))
    frames[0].save(buffer, format, save_all=True, append_images=frames[1:], duration=each, loop=0, **options)
    return buffer.getvalue()


def write_animation(
    path: str | Path, images: Tensor, *, seconds: float = 3.0, value_range: Range = (-1.0, 1.0)
) -> None:
    """Write images as an animated ``.gif`` or ``.webp`` (else an ImageError), atomically: see `animation_bytes`."""
    format = _FORMATS.get(Path(path).suffix.lower())
    if format is None:
        raise ImageError(f"Animations end in .gif or .webp; {path} does not.")
    write_bytes(path, animation_bytes(images, format, seconds=seconds, value_range=value_range))
