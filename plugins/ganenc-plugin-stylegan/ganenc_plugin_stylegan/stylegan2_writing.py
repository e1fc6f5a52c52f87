"""Writes a StyleGAN2 as other people's programs hold it: rosinality's file, the state of NVIDIA's PyTorch network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ganenc.foreign import Checkpoint
from torch import Tensor

from ganenc_plugin_stylegan.names import SCALAR
from ganenc_plugin_stylegan.stylegan2_names import NvidiaTorch, Rosinality, StyleGAN2Format

WRITTEN: dict[str, type[StyleGAN2Format]] = {"rosinality": Rosinality, "nvidia-state": NvidiaTorch}
"""The formats that are written, by name."""


def written(name: str, state: dict[str, Tensor], mean: Tensor, fir: Tensor, levels: int) -> dict[str, Any]:
    """The file of a format, of plain tensors.

    Args:
        name: of the format, one of `WRITTEN`.
        state: the generator's weights by our names.
        mean: the mean style (dim,).
        fir: its low-pass filter (k, k), which sums to 1; these files keep it in every layer that uses it.
        levels: how many resolutions there are.
    """
    source = WRITTEN[name](Checkpoint(Path(name), "torch", {}), "")
    out: dict[str, Any] = {}
    single = f"to_rgb.{levels - 1}." if "to_rgb.1.weight" not in state else "to_rgb.0."
    for target, tensor in {**state, "w_avg": mean}.items():
        place = source.source(target.replace("to_rgb.0.", single, 1))
        one = place.form is SCALAR and name == "rosinality"
        shape = (1,) if one else place.form.stored(tuple(tensor.shape))
        out[place.name] = tensor.detach().cpu().reshape(shape).clone()
    if name == "nvidia-state":
        blocks = [f"synthesis.b{4 << level}" for level in range(levels)]
        layers = [f"synthesis.b{4 << ((i + 1) // 2)}.conv{1 - i % 2}" for i in range(2 * levels - 1)]
        return out | {f"{place}.resample_filter": fir.cpu().clone() for place in (*blocks, *layers)}
    for level in range(1, levels):
        for place in (f"convs.{2 * level - 2}.conv.blur", f"to_rgbs.{level - 1}.upsample"):
            out[f"{place}.kernel"] = fir.cpu() * 4
    return {"g_ema": {key: value for key, value in out.items() if key != "w_avg"}, "latent_avg": out["w_avg"]}
