"""Images that are tilted, inverted by StyleGAN3 with its transform sought: the angle found, and the picture upright."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from _common import describe, parser, publish, set_threads, table
from ganenc.generators import build_generator
from ganenc.inversion import invert
from ganenc.objectives import build_objective
from ganenc_plugin_stylegan3.specs import stylegan3_spec
from ganenc_registry.specs import GeneratorSpec, ObjectiveSpec
from torch import Tensor

NETWORKS: dict[str, Callable[[], GeneratorSpec]] = {
    "t16": partial(stylegan3_spec, 16, channel_base=128, channel_max=8, layers=3, z_dim=8, w_dim=8),
    "r16": partial(stylegan3_spec, 16, config="r", channel_base=128, channel_max=8, layers=3, z_dim=8, w_dim=8),
    "t32": partial(stylegan3_spec, 32, channel_base=512, channel_max=32, layers=8, z_dim=32, w_dim=32),
    "r32": partial(stylegan3_spec, 32, config="r", channel_base=1024, channel_max=64, layers=8, z_dim=32, w_dim=32),
}
FREE = ("rotation", "shift_x", "shift_y")
WAYS: dict[str, dict[str, Any]] = {
    "held at 0, w": {"space": "w", "start": "draws"},
    "set, w": {"space": "w", "start": "draws", "settings": {}},
    "sought, w": {"space": "w", "start": "draws", "free": FREE},
    "sought, w from the centre": {"space": "w", "free": FREE},
    "sought, w+": {"space": "w+", "start": "draws", "free": FREE},
}
"""How each image is inverted: with a transform of 0, with that which it has, or with one that is sought from 0."""


def psnr(a: Tensor, b: Tensor) -> list[float]:
    """Of each image, over the range of the second."""
    peak = b.flatten(1).amax(1) - b.flatten(1).amin(1)
    return (10 * (peak.square() / (a - b).square().flatten(1).mean(1)).log10()).tolist()


@torch.no_grad()
def rows(network: str, images: int, tilt: float, steps: int) -> list[list[object]]:
    """For each way: the angle found, and how well the image, and the same upright, came back."""
    torch.manual_seed(0)
    generator = build_generator(NETWORKS[network]()).freeze()
    objective = build_objective(ObjectiveSpec(losses={"mse": 5.0}), generator)
    own = generator.complete(generator.sample(images, seed=5))
    upright = generator.synthesize(own)
    tilted = generator.synthesize(own.replace(rotation=torch.full((images,), tilt)))
    found = []
    for name, options in WAYS.items():
        with torch.enable_grad():
            told = {"settings": {"rotation": tilt}} if "settings" in options else {}
            method = {"name": "optimize", "options": {**options, **told, "steps": steps}}
            done = invert(tilted, generator, None, method, objective=objective)
        made = generator.synthesize(done.latents.only("w"))
        angles = done.latents["rotation"].tolist()
        decibels = [f"{statistics.mean(psnr(*pair)):.1f}" for pair in ((done.reconstructions, tilted), (made, upright))]
        found.append([network, name, describe(angles), *decibels])
    return found


def main() -> None:
    """Tilt images of each network, find them, and print the table."""
    options = parser("tilted", __doc__)
    options.add_argument("--networks", nargs="+", choices=NETWORKS, default=["t16", "r16"], help="StyleGAN3s")
    options.add_argument("--images", type=int, default=4, help="images of each")
    options.add_argument("--tilt", type=float, default=20.0, help="degrees")
    options.add_argument("--steps", type=int, default=150, help="of optimize")
    chosen = options.parse_args()
    set_threads(chosen.threads)
    if chosen.quick:
        chosen.networks, chosen.images, chosen.steps = ["t16"], 2, 10
    found = [row for name in chosen.networks for row in rows(name, chosen.images, chosen.tilt, chosen.steps)]
    header = ["network", "way", "degrees", "PSNR, tilted", "PSNR, upright"]
    told = f"Random weights, images tilted by {chosen.tilt:g} degrees, sought from 0."
    body = f"{told} Of angles the median, smallest and largest.\n\n{table(header, found)}"
    publish("tilted", "Tilted images, upright", body, out=chosen.out, quick=chosen.quick, threads=chosen.threads)


if __name__ == "__main__":
    main()
