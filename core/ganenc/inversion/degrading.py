"""The operators: mask, downscale, grey, blur, noise, jpeg."""

from __future__ import annotations

import copy
import math
from typing import Annotated, Literal

import torch
from ganenc_registry.components import Context
from ganenc_registry.errors import ImageError, SpecError
from ganenc_registry.specs import NonNegativeInt, Spec
from kornia.color import rgb_to_grayscale
from kornia.enhance import jpeg_codec_differentiable
from kornia.filters import filter2d, filter2d_separable, get_gaussian_kernel1d
from PIL import Image, ImageChops, ImageColor
from pydantic import Field, PositiveFloat, field_validator, model_validator
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Self

from ganenc.images import convert_range, decode, flatten, read, to_pixels
from ganenc.inversion.operators import LEAST, Operator
from ganenc.inversion.photo import Photo

UNKNOWN = "?"
"""An option that is to be found along with the latents."""
SIGMA, QUALITY = 2.0, 50.0
"""Where what is unknown starts."""
SIGMAS, QUALITIES = (0.01, 1024.0), (1.0, 100.0)
"""And where it ends."""
REACH = 4.0
"""Deviations at which a Gaussian kernel ends."""
LARGEST_KERNEL = 255
"""Pixels a side of a kernel."""
Box = tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt]


class Mask(Operator):
    """Pixels that are not known: they are mid-grey, and no loss sees them."""

    class Options(Spec):
        file: str | None = Field(None, description="a picture as large as the photo, white where it is not known")
        colour: str | None = Field(None, description="what is painted in it is not known: #ff00ff, or a name")
        alpha: bool = Field(False, description="what is transparent is not known; so without any option")
        box: Box | None = Field(None, description="left, top, right and bottom of what is not known, in pixels")
        tolerance: float = Field(16, ge=0, le=255, description="how far from the colour a pixel of it may be, of 255")

        @field_validator("colour")
        @classmethod
        def _colour(cls, value: str | None) -> str | None:
            if value is not None:
                ImageColor.getrgb(value)
            return value

        @model_validator(mode="after")
        def _shaped(self) -> Self:
            if self.box is not None and not (self.box[0] < self.box[2] and self.box[1] < self.box[3]):
                raise ValueError("box is left, top, right and bottom, with left < right and top < bottom")
            return self

    hides = True
    hidden: Tensor | None = None
    """(1, 1, h, w), what a photo hides besides the box, once it was looked up."""

    def forward(self, images: Tensor) -> Tensor:
        low, high = self.context.value_range
        return torch.where(self._hidden(images), (low + high) / 2, images)

    def known(self, known: Tensor) -> Tensor:
        hidden = self._hidden(known)
        if bool(hidden.all()) or not bool(hidden.any()):
            size = "x".join(map(str, known.shape[2:]))
            raise ImageError(f"The mask hides {'all' if hidden.any() else 'nothing'} of {size} pixels; mend it.")
        return known & ~hidden

    def guess(self, seen: Tensor, size: tuple[int, int]) -> Tensor:
        return fill(seen, ~self._hidden(seen))

    def looked_up(self, seen: Tensor, photo: Photo | None) -> Self:
        options, one = self.options, copy.copy(self)
        if options.box is None or options.file or options.colour or options.alpha:
            name = "The image" if photo is None else photo.name
            pictures = self._pictures(_whole(seen, photo, self.context), name)
            placed = torch.cat([(photo or Photo(seen[0])).placed(picture)[None] for picture in pictures])
            one.hidden = (placed > LEAST).any(0, keepdim=True)
        return one

    def _hidden(self, images: Tensor) -> Tensor:
        hidden = torch.zeros(1, 1, *images.shape[2:], dtype=torch.bool, device=images.device)
        if self.hidden is not None:
            hidden |= F.interpolate(self.hidden.float(), images.shape[2:], mode="nearest").to(hidden.device) > 0
        if self.options.box is not None:
            left, top, right, bottom = self.options.box
            hidden[..., top:bottom, left:right] = True
        return hidden

    def _pictures(self, whole: Image.Image, name: str) -> list[Image.Image]:
        """Grey pictures as large as the photo, white where it is not known."""
        options, found = self.options, []
        if options.file is not None:
            file = decode(options.file)
            size = file.size if isinstance(file, Image.Image) else file.shape[1::-1]
            if size != whole.size or not isinstance(file, Image.Image):
                told = " and ".join("x".join(map(str, one[::-1])) for one in (size, whole.size))
                raise ImageError(f"The mask {options.file} and {name} are {told} pixels; make the mask as large.")
            found.append(flatten(file).convert("L"))
        if options.colour is not None:
            painted = Image.new("RGB", whole.size, ImageColor.getrgb(options.colour)[:3])
            red, green, blue = ImageChops.difference(flatten(whole).convert("RGB"), painted).split()
            far = ImageChops.lighter(ImageChops.lighter(red, green), blue)
            found.append(far.point([255 * (value <= options.tolerance) for value in range(256)]))
        if options.alpha or options.file is options.colour is options.box is None:
            if "A" not in whole.getbands():
                raise ImageError(f"{name} has no transparent pixels to mask; give a mask's file, colour or box.")
            found.append(ImageChops.invert(whole.getchannel("A")))
        return found


class Downscale(Operator):
    """Fewer pixels, antialiased as Pillow does it."""

    class Options(Spec):
        factor: float = Field(2.0, gt=1, le=1024, description="how many pixels a side become one")
        kernel: Literal["bicubic", "bilinear", "box"] = Field("bicubic", description="how these are averaged")

    def forward(self, images: Tensor) -> Tensor:
        size = self.seen_size((images.shape[2], images.shape[3]))
        if self.options.kernel == "box":
            return F.interpolate(images, size, mode="area")
        return F.interpolate(images, size, mode=self.options.kernel, antialias=True, align_corners=False)

    def seen_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return max(1, round(size[0] / self.options.factor)), max(1, round(size[1] / self.options.factor))


class Grey(Operator):
    """No colour: luma (ITU-R BT.601) in all three channels; of other channels their mean."""

    def forward(self, images: Tensor) -> Tensor:
        grey = rgb_to_grayscale(images) if images.shape[1] == 3 else images.mean(1, keepdim=True)
        return grey.expand_as(images).contiguous()


class Blur(Operator):
    """Out of focus, or shaken: a Gaussian, or a kernel of one's own."""

    class Options(Spec):
        sigma: Annotated[float, Field(gt=0, le=SIGMAS[1])] | Literal["?"] | None = Field(
            None, description="deviation of a Gaussian, in pixels; ? to find it along; 2 where there is no kernel"
        )
        kernel: str | None = Field(None, description="a grey picture, or an array (.npy), of a kernel to convolve with")

        @model_validator(mode="after")
        def _one(self) -> Self:
            if None not in (self.sigma, self.kernel):
                raise ValueError("sigma and kernel are given; leave one out")
            return self

    kernel: Tensor | None

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        if self.options.sigma == UNKNOWN:
            self.unknown("sigma", SIGMA, *SIGMAS)
        kernel = None if self.options.kernel is None else _kernel(self.options.kernel)
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        if self.kernel is not None:
            rows, columns = (side // 2 for side in self.kernel.shape[1:])
            padded = F.pad(images, (columns, columns, rows, rows), mode="replicate")
            seen: Tensor = filter2d(padded, self.kernel.to(images), padding="valid", behaviour="conv")
            return seen
        sigma = self.value("sigma") if self.options.sigma == UNKNOWN else torch.tensor(self.options.sigma or SIGMA)
        reach = min(max(1, math.ceil(REACH * float(sigma.detach()))), 2 * max(images.shape[2:]))
        taps = get_gaussian_kernel1d(2 * reach + 1, sigma.to(images).reshape(1, 1))
        padded = F.pad(images, (reach,) * 4, mode="replicate")
        blurred: Tensor = filter2d_separable(padded, taps, taps, padding="valid")
        return blurred


class Noise(Operator):
    """Grain: one draw from a seed, added to every image. It is not the photo's own, but makes a reconstruction as
    grainy, so that features of it are compared with alike; pixels are off by a constant on average."""

    gives_back = False

    class Options(Spec):
        level: PositiveFloat = Field(0.05, le=10, description="its deviation, in parts of black to white")
        seed: NonNegativeInt = Field(0, description="of the draw")

    def forward(self, images: Tensor) -> Tensor:
        low, high = self.context.value_range
        drawn = torch.Generator().manual_seed(self.options.seed)
        noise = torch.randn(images.shape[1:], generator=drawn, dtype=torch.float64).to(images)
        return images.add(noise, alpha=self.options.level * (high - low))

    def known(self, known: Tensor) -> Tensor:
        return known


class Jpeg(Operator):
    """What JPEG leaves, with a gradient (kornia's: Reich et al., 2024)."""

    gives_back = False

    class Options(Spec):
        quality: float | Literal["?"] = Field(50.0, description="from 1 to 100, as Pillow has it; ? to find it along")

        @field_validator("quality")
        @classmethod
        def _bounded(cls, value: float | str) -> float | str:
            if not isinstance(value, str) and not QUALITIES[0] <= value <= QUALITIES[1]:
                raise ValueError("quality is from 1 to 100")
            return value

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        if self.options.quality == UNKNOWN:
            self.unknown("quality", QUALITY, *QUALITIES)

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1] not in (1, 3):
            raise SpecError(f"jpeg is of pictures of 1 or 3 channels; these have {images.shape[1]}.")
        quality = torch.tensor(self.options.quality) if self.options.quality != UNKNOWN else self.value("quality")
        pictures = convert_range(images, self.context.value_range, (0.0, 1.0)).expand(-1, 3, -1, -1)
        seen = jpeg_codec_differentiable(pictures, quality.to(images).reshape(1))
        seen = seen.mean(1, keepdim=True) if images.shape[1] == 1 else seen
        return convert_range(seen, (0.0, 1.0), self.context.value_range)

    def known(self, known: Tensor) -> Tensor:
        return known


def fill(images: Tensor, known: Tensor) -> Tensor:
    """Images (N, C, H, W) whose unknown pixels are means of the known ones around, the wider the further these are."""
    if bool(known.all()):
        return images
    share = known.to(images).expand(len(images), 1, -1, -1)
    sums, height, width = images * share, *images.shape[2:]
    if max(height, width) == 1:
        return images
    half = ((height + 1) // 2, (width + 1) // 2)
    weights, means = (F.avg_pool2d(one, 2, ceil_mode=True, count_include_pad=False) for one in (share, sums))
    small = fill(means / weights.clamp(min=1e-6), weights > 0)
    coarse = F.interpolate(small, (2 * half[0], 2 * half[1]), mode="bilinear", align_corners=False)
    return torch.where(known, images, coarse[..., :height, :width])


def _whole(seen: Tensor, photo: Photo | None, context: Context) -> Image.Image:
    """A photo's own pixels, before they were brought to size; an ImageError if it is no picture."""
    source = seen[0] if photo is None or photo.source is None else photo.source
    found = decode(to_pixels(source, context.value_range) if isinstance(source, Tensor) else source)
    if not isinstance(found, Image.Image):
        name = "The image" if photo is None else photo.name
        raise ImageError(f"{name} is no picture, so its mask is a box; give mask:box=LEFT,TOP,RIGHT,BOTTOM.")
    return found


def _kernel(file: str) -> Tensor:
    """A kernel (1, h, w) of odd sides whose sum is 1; an ImageError if the file holds none."""
    found = read(file, channels=1, value_range=(0.0, 1.0))
    total, (height, width) = float(found.sum()), found.shape[1:]
    if total <= 0 or max(height, width) > LARGEST_KERNEL:
        raise ImageError(
            f"{file} is no kernel: it is {height}x{width}, its sum {total:g}; give at most {LARGEST_KERNEL} pixels a"
            " side, black where nothing comes from."
        )
    return F.pad(found / total, (0, 1 - width % 2, 0, 1 - height % 2))
