"""An inverter of your own, with an option, declared in ``custom_inverter.yaml``.

``python examples/custom_inverter.py``, or on the command line

    ganenc --import examples/custom_inverter.py invert PHOTOS --config examples/custom_inverter.yaml \\
        --set method.options.tries=9 --out inverted
"""

from __future__ import annotations

import sys
from pathlib import Path

import ganenc
import torch
from ganenc.inversion import Best, Task
from ganenc_registry.specs import InvertSpec, Spec
from pydantic import Field


@ganenc.register("inverter", "pulled")
class Pulled(ganenc.Inverter):
    """The encoder's latents, pulled towards the mean as far as that brings the image nearer to the photo."""

    needs_encoder = True

    class Options(Spec):
        tries: int = Field(5, ge=2, description="places that are tried between the encoder's latents and the mean")

    @torch.no_grad()
    def work(self, task: Task) -> ganenc.Inversion:
        """Photos (N, C, H, W) => for each the best of the tries."""
        reference = task.objective.prepare(task.images, labels=task.labels)
        found, best = task.encoded(), Best(task)
        mean = task.generator.center().expand(len(task.images))
        for pull in torch.linspace(0, 1, self.options.tries).tolist():
            latents = found.lerp(mean, pull)
            best.offer(latents, task.objective(task.generator.synthesize(latents), reference).image)
        latents = best.take()
        return ganenc.Inversion(latents, task.generator.synthesize(latents))


def main(count: int) -> None:
    """Invert images of the generator's by one pass and by this, which keeps one pass where no pull is better."""
    spec = InvertSpec.from_file(Path(__file__).with_suffix(".yaml"))
    model = ganenc.load(spec.model)
    images = model.generate(count, seed=5, truncation=0.7).images
    for method in ("encode", spec.method):
        inverted = model.invert(images, method)
        print(f"{inverted.settings['method']}: {inverted.metrics['psnr']:.2f} dB")


if __name__ == "__main__":
    main(count=2 if "--quick" in sys.argv else 16)
