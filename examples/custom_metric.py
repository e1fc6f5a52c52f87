"""A metric of your own, with an option. ``python examples/custom_metric.py``, or on the command line

    ganenc --import examples/custom_metric.py evaluate --model MODEL --metric sharpness \\
        --set metrics.sharpness.options.reach=2
"""

import sys
from typing import ClassVar

import ganenc
from ganenc_registry.specs import Spec
from pydantic import Field
from torch import Tensor


@ganenc.register("metric", "sharpness")
class Sharpness(ganenc.Metric):
    """Mean difference of local contrast, from 0 where two images are equally sharp."""

    higher_is_better: ClassVar[bool] = False

    class Options(Spec):
        reach: int = Field(1, ge=1, description="pixels over which contrast is taken")

    def measure(self, a: Tensor, b: Tensor, region: Tensor | None) -> list[float]:
        """Two batches (N, C, H, W), in ``self.context.value_range`` => N numbers."""
        low, high = self.context.value_range
        return ((self.contrast(a) - self.contrast(b)).abs().flatten(1).mean(1) / (high - low)).tolist()

    def contrast(self, images: Tensor) -> Tensor:
        """Differences of neighbours along the rows."""
        return (images[..., self.options.reach :] - images[..., : -self.options.reach]).abs()


def main(count: int) -> None:
    """Take it, beside PSNR, of images and what one pass makes of them."""
    generator, encoder = (load("stylegan2-hands64") for load in (ganenc.load_generator, ganenc.load_encoder))
    made = generator.synthesize(generator.sample(count, seed=9)).detach()
    rebuilt = ganenc.invert(made, generator, encoder, method="encode").reconstructions
    metrics = ganenc.measures.build_metrics({"psnr": "psnr", "sharpness": {"options": {"reach": 2}}})
    for name, (mean, deviation) in ganenc.measures.score(made, rebuilt.detach(), metrics).table().items():
        print(f"{name} {mean:.3f} ± {deviation:.3f}: {metrics[name].words(made)}")


if __name__ == "__main__":
    main(count=4 if "--quick" in sys.argv else 64)
