"""The recipe ``d2e``: an encoder that starts as a discriminator (the paper's reference 15)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise, takewhile
from typing import Any, ClassVar

import torch
from ganenc.foreign import Checkpoint, read_checkpoint
from ganenc.objectives import Batch
from ganenc.training import EncoderRecipe
from ganenc_registry.components import Context
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import Spec
from pydantic import Field
from torch import Tensor, nn

from ganenc_plugin_methods.adversary import Standard
from ganenc_plugin_methods.d2e import D2E
from ganenc_plugin_methods.other_formats import folded

__all__ = ["D2ERecipe", "read_discriminator"]

_MODULE = re.compile(r"(.+?)\.(?:parametrizations\.weight\..+|[^.]+)")
_KERNEL = re.compile(r"(.+)\.(?:weight|weight_orig|parametrizations\.weight\.original)")

EPSILON = 1e-5
"""Of batch norm."""


class D2ERecipe(EncoderRecipe):
    """The objective, and the squares of each sample's mean and of its deviation less 1, over all of its latents in the
    deviations of the generator's own. For any encoder of any generator; what starts as the discriminator in a file is
    the network ``d2e``."""

    encoder_fields: ClassVar[dict[str, Any]] = {"network": {"name": "d2e"}}

    class Options(Spec):
        """What can be chosen."""

        discriminator: str | None = Field(
            None, description="a file with a DCGAN's discriminator, whose convolutions the encoder starts with"
        )
        spread: float = Field(0.001, ge=0, description="weight of how far the latents' mean and deviation are off")

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        like, network = next(self.encoder.parameters()), self.encoder.network
        self.standard = Standard(self.context.network, self.encoder.spec).to(like.device, like.dtype)
        if self.options.discriminator is not None:
            if not isinstance(network, D2E):
                raise SpecError(
                    "recipe.options.discriminator: only the network 'd2e' starts as one; choose it, as by --set"
                    " encoder.overrides.network=d2e."
                )
            start_as(network, read_checkpoint(self.options.discriminator))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        outcome = self.encoder_step(batch)
        deviation, mean = torch.std_mean(self.standard(outcome.latents), 1, unbiased=False)
        spread, terms = mean.square() + (deviation - 1).square(), outcome.result.terms
        return {**terms, "spread": spread, "total": terms["total"] + self.options.spread * spread}


@torch.no_grad()
def start_as(network: D2E, checkpoint: Checkpoint) -> None:
    """Give a network's convolutions, all but the last, the weights of the discriminator in a file; `SpecError` if they
    have no biases where the discriminator has."""
    own = [one for one in network.trunk if isinstance(one, nn.Conv2d)]
    read = read_discriminator(checkpoint, [own[0].in_channels, *(one.out_channels for one in own)])
    for conv, (weight, bias) in zip(own, read, strict=True):
        conv.weight.copy_(weight)
        if conv.bias is not None:
            conv.bias.copy_(bias)
        elif bias.any():
            raise SpecError(
                f"{checkpoint.path} has batch norm, or biases, which the encoder cannot start with: give its network"
                " the option `bias: true`."
            )


def read_discriminator(checkpoint: Checkpoint, widths: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Weight (D, C, 4, 4) and bias (D,) of the first convolutions of a DCGAN's discriminator, which go through such
    ``widths``, the images' channels first. Spectral norm and batch norm, by its running statistics, are folded in.
    `CheckpointError` if the file holds no such discriminator, or several of which none is the averaged one."""
    names = checkpoint.tensors if checkpoint.container == "torch" else sorted(checkpoint.tensors, key=_in_order)
    kernels = {found[1]: found[0] for found in map(_KERNEL.fullmatch, names) if found}
    kernels = {module: name for module, name in kernels.items() if len(checkpoint.shape(name)) == 4}
    modules = [*dict.fromkeys(found[1] for found in map(_MODULE.fullmatch, names) if found)]
    convs, wanted = [one for one in modules if one in kernels], [(b, a, 4, 4) for a, b in pairwise(widths)]
    chains = [convs[place : place + len(wanted)] for place in range(len(convs))]
    fits = {one[0]: one for one in chains if [checkpoint.shape(kernels[each]) for each in one] == wanted}
    if not fits:
        found = " => ".join(map(str, widths))
        checkpoint.fail(
            f"it holds no row of 4x4 convolutions of {found} channels",
            "give the network d2e the `widths` of its discriminator, and the file of that",
        )
    chain = fits[checkpoint.averaged(list(fits))]
    ends = [*(modules.index(one) for one in chain[1:]), len(modules)]
    return [
        _layer(checkpoint, kernels[conv], conv, modules[modules.index(conv) + 1 : end], convs)
        for conv, end in zip(chain, ends, strict=True)
    ]


def _layer(
    checkpoint: Checkpoint, kernel: str, conv: str, after: Sequence[str], convs: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """A convolution, and the norms that come after it up to the next one, as weight and bias."""
    weight = folded(checkpoint, kernel)
    bias = _values(checkpoint, f"{conv}.bias", len(weight), 0.0)
    for module in takewhile(lambda one: one not in convs, after):
        if f"{module}.running_var" not in checkpoint.tensors:
            checkpoint.fail(f"{module!r} is no batch norm, so that it cannot be folded into a convolution")
        scale = _values(checkpoint, f"{module}.weight", len(weight), 1.0)
        scale = scale * (checkpoint.tensor(f"{module}.running_var", (len(weight),)).clamp_min(0) + EPSILON).rsqrt()
        mean = checkpoint.tensor(f"{module}.running_mean", (len(weight),))
        weight = weight * scale[:, None, None, None]
        bias = (bias - mean) * scale + _values(checkpoint, f"{module}.bias", len(weight), 0.0)
    return weight, bias


def _values(checkpoint: Checkpoint, name: str, count: int, default: float) -> Tensor:
    return checkpoint.tensor(name, (count,)) if name in checkpoint.tensors else torch.full((count,), default)


def _in_order(name: str) -> list[tuple[int, str]]:
    """Sorts names by the numbers in them."""
    return [(len(one) if one.isdecimal() else 0, one) for one in name.split(".")]
