"""A GAN of your own: a dozen lines make it a generator like any other.

Its encoder is built, trained for a moment, and inverts an image: ``python examples/custom_gan.py``.
"""

import sys
from pathlib import Path

import ganenc
import torch
from ganenc.measures import psnr
from ganenc_registry.specs import GeneratorSpec, Prior, Vector
from torch import nn

WIDTHS = {4: 128, 8: 64, 16: 32, 32: 32}  # Of the generator at each size; optional: the encoder follows them.


@ganenc.register("generator", "my-gan")
class MyGan(ganenc.Generator):
    """A small DCGAN of 32x32 images."""

    spec = GeneratorSpec(
        family="my-gan", size=32, prior=Prior(dim=64), layout=(Vector(dim=64),), resolution_channels=WIDTHS
    )

    def __init__(self, spec=None):
        super().__init__(spec)
        up = [nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in [(128, 64), (64, 32), (32, 3)]]
        layers = [layer for conv in up for layer in (nn.ReLU(), conv)]
        self.net = nn.Sequential(nn.ConvTranspose2d(64, 128, 4), *layers, nn.Tanh())

    def synthesize(self, latents):
        return self.net(latents["z"][:, :, None, None])


def main(steps: int) -> None:
    """Everything from a bare generator to the latents of one image."""
    torch.manual_seed(0)
    generator = MyGan()
    for weights in generator.parameters():  # Yours has been trained: generator.net.load_state_dict(torch.load(...))
        nn.init.normal_(weights, std=0.1)
    encoder = ganenc.build_encoder(generator)
    for row in encoder.spec.rows():
        print(f"{row.name:8} {row.size[0]:3} x {row.size[1]:<3} {row.parameters:8} parameters")
    run = ganenc.preset("pretrain", steps=steps, objective={"backbone": "hands"}, data={"batch": 8})
    encoder = ganenc.pretrain(generator, run, Path("runs") / f"my-gan-{steps}", encoder=encoder)
    target = generator.synthesize(generator.sample(1, seed=1)).detach()
    model = ganenc.Model(generator, encoder, backbone="hands")
    # The encoder itself learns the image, as in the paper.
    inversion = model.invert(target, {"name": "finetune", "options": {"steps": steps}})
    inversion.latents.save("my-gan.safetensors", model=model.hash)
    inversion.image.save("my-gan.png")
    average = generator.synthesize(generator.center())
    before, after = (psnr(target, image)[0] for image in (average.detach(), inversion.reconstructions))
    print(f"PSNR of the average image {before:.2f} dB, of the inversion {after:.2f} dB")


if __name__ == "__main__":
    main(steps=20 if "--quick" in sys.argv else 100)
