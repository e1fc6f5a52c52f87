"""From images to heat maps of their size: the whole way, once for each image."""

from __future__ import annotations

import warnings

import torch
from ganenc.images import Range, convert_range
from ganenc.objectives import Backbone, pool
from ganenc_registry.errors import SpecError
from torch import Tensor, nn
from torch.nn import functional as F

from ganenc_plugin_gradcam.cache import MapCache, content_keys
from ganenc_plugin_gradcam.maps import METHODS, MethodName
from ganenc_plugin_gradcam.scores import Of, Scores

__all__ = ["HeatMaps", "enlarged"]

BATCH = 16
"""How many images go through the backbone at once."""


class HeatMaps(nn.Module):
    """Where in images a backbone sees a class. No gradient goes into a map, and none comes out.

    The backbone sees images as LPIPS does: from -1 to 1, pooled to at most 256 pixels, enlarged to its least size, and
    normalised by itself. Each image has a score of its own, so the classes of a batch may differ.

    Args:
        backbone: a classifier with a last convolution; it is frozen.
        method: one of `METHODS`.
        of: what the maps are of; see `Scores`.
        value_range: the values of black and white in the images.
        cache: how many megabytes of maps are kept, by the content of the image and its label.

    Raises:
        SpecError: if the backbone has no maps.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        method: MethodName = "gradcam",
        of: Of = "predicted",
        value_range: Range = (-1.0, 1.0),
        cache: float = 64.0,
    ) -> None:
        super().__init__()
        self.scores = Scores(backbone.freeze(), of)
        self.method = method
        self.value_range = value_range
        self.cache = MapCache(cache)

    def forward(self, images: Tensor, labels: Tensor | None = None, asked: Tensor | None = None) -> Tensor:
        """Images => maps of their size.

        Args:
            images: (N, C, H, W) in ``value_range``.
            labels: int64 (N,) or rows (N, classes), where the maps are of given classes.
            asked: int64 (N,) or rows (N, classes), what the maps are to be of in any case.

        Returns:
            (N, 1, H, W), each from 0 to exactly 1; 1 everywhere, after a warning, where nothing was found.

        Raises:
            SpecError: if the labels are needed and do not fit.
        """
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            images = images.detach().clone()  # A tensor made in inference mode cannot take part in a gradient.
            coarse = self._coarse(images, self.scores.rows(labels, images, asked))
            maps = enlarged(coarse, (images.shape[-2], images.shape[-1]))
            return maps / maps.amax((1, 2, 3), keepdim=True)

    @torch.no_grad()
    def predicted(self, images: Tensor) -> Tensor | None:
        """The likeliest class int64 (N,) of each image (N, C, H, W); None where the maps are of no class."""
        if self.scores.of == "energy":
            return None
        batches = [self.scores.backbone(self._fitted(some)).logits for some in images.split(BATCH)]
        return torch.cat([logits.argmax(1) for logits in batches if logits is not None])

    def _fitted(self, images: Tensor) -> Tensor:
        """Images as the backbone takes them."""
        backbone = self.scores.backbone
        dtype = next((weight.dtype for weight in backbone.parameters()), torch.float32)
        scaled = pool(convert_range(images.to(dtype), self.value_range, (-1.0, 1.0)))
        return backbone.fit(scaled).detach()

    def _coarse(self, images: Tensor, rows: Tensor | None) -> Tensor:
        """Maps (N, 1, h, w), signed and above 0 somewhere, computed where the cache has none."""
        keys = content_keys(images, rows)
        found = {key: kept for key in keys if (kept := self.cache.get(key)) is not None}
        places = {key: index for index, key in enumerate(keys) if key not in found}
        wanted = list(places.values())
        for first in range(0, len(wanted), BATCH):
            some = wanted[first : first + BATCH]
            maps = self._compute(images[some], None if rows is None else rows[some])
            found.update((keys[at], one) for at, one in zip(some, maps, strict=True))
        self._warn_of([found[key] for key in places])
        for key in places:
            self.cache.put(key, found[key])
        return torch.stack([found[key].to(images.device) for key in keys])

    def _compute(self, images: Tensor, rows: Tensor | None) -> Tensor:
        """Maps of images that all differ, flat where there is nothing to see."""
        backbone = self.scores.backbone
        layer = backbone.last_convolution
        if layer is None:
            raise SpecError(f"The backbone {backbone.name!r} has no last convolution, so it has no Grad-CAM map.")
        fitted = self._fitted(images)
        with torch.enable_grad():
            maps = METHODS[self.method](self.scores, layer, fitted, rows)
        maps = maps.detach()
        peak = maps.amax((1, 2, 3), keepdim=True)
        return torch.where(peak.isfinite() & (peak > 0), maps, 1.0)

    def _warn_of(self, computed: list[Tensor]) -> None:
        """Say of how many images the map is flat."""
        flat = sum(bool((one == 1).all()) for one in computed)
        if flat:
            warnings.warn(
                f"The {self.method} map of {flat} of {len(computed)} images is zero everywhere: the backbone"
                f" {self.scores.backbone.name!r} finds nothing there. They are looked at whole.",
                stacklevel=2,
            )


def enlarged(coarse: Tensor, size: tuple[int, int]) -> Tensor:
    """Signed maps (N, 1, h, w) => maps (N, 1, height, width) of ``size`` without what is below 0.

    They are cut after they are enlarged, as where captum interpolates them: cut before, the heat of an object runs out
    over the border that values below 0 around it mark.
    """
    signed = F.interpolate(coarse, size, mode="bilinear", align_corners=False)
    cut = F.interpolate(coarse.relu(), size, mode="bilinear", align_corners=False)
    # A lone peak may lie between pixels at which its neighbours outweigh it.
    return torch.where(signed.amax((1, 2, 3), keepdim=True) > 0, signed.relu(), cut)
