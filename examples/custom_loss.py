"""A loss of your own, with an option, weighed in a run's spec beside the others. ``python examples/custom_loss.py``.

In a run.yaml it is written as here, ``losses: {mse: 5, edges: {weight: 2, options: {reach: 2}}}``, and on the command
line ``--set objective.losses.edges.options.reach=3`` changes it.
"""

import sys
from pathlib import Path

import ganenc
import torch
from ganenc_registry.specs import Spec
from pydantic import Field


@ganenc.register("loss", "edges")
class Edges(ganenc.Loss):
    """How far the differences between pixels near each other are from those of the target: one number a sample."""

    class Options(Spec):
        reach: int = Field(1, ge=1, description="how many pixels the two are apart")

    @torch.no_grad()
    def prepare(self, target_view):
        """Once for each photo: what is compared with."""
        return self.differences(target_view)

    def forward(self, view, reference):
        """(N,): the gradient goes to the view."""
        pairs = zip(self.differences(view), reference, strict=True)
        return sum((mine - wanted).abs().flatten(1).mean(1) for mine, wanted in pairs)

    def differences(self, images):
        """Along the height and along the width, on the scale from -1 to 1."""
        images, reach = self.scaled(images), self.options.reach
        return images[:, :, reach:] - images[:, :, :-reach], images[..., reach:] - images[..., :-reach]


def main(steps: int) -> None:
    """Train an encoder towards it for a moment, and print how the terms fell."""
    run = ganenc.preset(
        "pretrain",
        model="stylegan2-hands64",
        encoder={"overrides": {"map_gain": 0.1}},
        objective={
            "losses": {"mse": 5.0, "cos": 3.0, "edges": {"weight": 2.0, "options": {"reach": 2}}},
            "attention": "none",
        },
        optimiser={"rate": 0.005, "warmup": 5},
        data={"batch": 4},
        steps=steps,
        saving={"log_every": max(1, steps // 5)},
    )
    ganenc.execute(run, Path("runs") / f"edges-{steps}", on_step=report)


def report(step, steps, terms):
    """What to print of a row of metrics."""
    named = ", ".join(f"{name} {terms[name]:.3f}" for name in ("image/mse", "image/edges", "total"))
    print(f"{step}/{steps}: {named}")


if __name__ == "__main__":
    main(steps=4 if "--quick" in sys.argv else 40)
