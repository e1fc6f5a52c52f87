"""Photos restored through what happened to them, one of it an operator of your own: ``python examples/restore.py``."""

import sys

import ganenc
from ganenc.images import write_png
from ganenc.inversion import Operator, build_operator
from ganenc_plugin_hands.models import PHOTOS
from ganenc_registry.specs import Spec
from pydantic import Field
from torch import Tensor


@ganenc.register("operator", "fade")
class Fade(Operator):
    """Contrast that was lost."""

    class Options(Spec):
        left: float = Field(0.5, gt=0, le=1, description="the part of it that is left")

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) => what is seen of them."""
        low, high = self.context.value_range
        return (low + high) / 2 + self.options.left * (images - (low + high) / 2)


method = {"name": "optimize", "options": {"free": [], "prior": 0.003, "steps": 5 if "--quick" in sys.argv else 200}}
model = ganenc.load("stylegan2-hands64")
photo = model.read(sorted(PHOTOS.glob("3-*.jpg"))[0]).target[None]
for name, operator in {
    "small": "downscale:4",
    "hole": "mask:box=16,16,48,48",
    "faded": "fade:0.4|blur:sigma=?",
}.items():
    seen = build_operator(operator, model.context)(photo).detach()
    (restored,) = model.restore(seen, operator, method=method)
    write_png(f"{name}.png", seen[0])
    restored.save(name)
    print(f"{name}: {restored.metrics['psnr']:.1f} dB to what was seen, found {restored.seen.operators[0].found()}")
