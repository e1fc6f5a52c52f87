"""An attention of your own: where the losses look twice. ``python examples/custom_attention.py``.

The one here looks where the photo has most detail. A photo is inverted with it and without it. In a run.yaml it is
``attention: {name: detail, options: {spread: 7}}``; ``--set objective.attention.options.spread=5`` changes it.
"""

import sys

import ganenc
from ganenc_plugin_hands.models import PHOTOS
from ganenc_registry.specs import Spec
from pydantic import Field
from torch.nn import functional as F


@ganenc.register("attention", "detail")
class Detail(ganenc.Attention):
    """The whole image, and the image weighted by how much its target changes from pixel to pixel there."""

    class Options(Spec):
        weight: float = Field(0.375, ge=0, description="of the second view; the image weighs 1")
        spread: int = Field(9, ge=1, description="how far detail reaches, in pixels; odd")

    def prepare(self, target, **context):
        """Once for each photo: a map (N, 1, H, W) from 0 to 1."""
        changes = (target - F.avg_pool2d(target, 3, 1, 1)).abs().mean(1, keepdim=True)
        spread = self.options.spread
        heat = F.avg_pool2d(changes, spread, 1, spread // 2)
        return heat / heat.amax((2, 3), keepdim=True).clamp_min(1e-6)

    def views(self, image, focus):
        """At each step, of the photo and of what was rebuilt alike: the gradient goes through."""
        return [ganenc.View("image", 1.0, image), ganenc.View("detail", self.options.weight, image * focus)]


def main(steps: int) -> None:
    """Invert a photo with either attention, and measure where there is detail."""
    generator = ganenc.load_generator("stylegan2-hands64")
    encoder = ganenc.load_encoder("stylegan2-hands64")
    photo = ganenc.images.read(sorted(PHOTOS.glob("*.jpg"))[0], size=generator.spec.size)[None]
    focus = Detail().prepare(photo)
    for attention, options in (("none", {}), ("detail", {"weight": 4.0, "spread": 7})):
        choice = {"name": attention, "options": options}
        spec = ganenc.ObjectiveSpec(losses={"mse": 5.0, "lpips": 2.0}, attention=choice, backbone="hands")
        objective = ganenc.build_objective(spec, generator)
        method = {"name": "optimize", "options": {"steps": steps}}
        found = ganenc.invert(photo, generator, encoder, method, objective=objective)
        error = (found.reconstructions - photo).square()
        detail = float((error * focus).sum() / focus.expand_as(error).sum())
        print(f"{attention}: mean square error {float(error.mean()):.4f}, where there is detail {detail:.4f}")
    ganenc.images.write_png("detail.png", focus[0], value_range=(0.0, 1.0))


if __name__ == "__main__":
    main(steps=5 if "--quick" in sys.argv else 100)
