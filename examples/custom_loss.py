"""A loss of your own, weighed in a run's spec beside the others. ``python examples/custom_loss.py``.

The one here compares edges. In a run.yaml it would be the line ``losses: {mse: 5, cos: 3, edges: 2}``.
"""

import sys
from pathlib import Path

import ganenc


@ganenc.register("loss", "edges")
class Edges(ganenc.Loss):
    """How far the differences between neighbouring pixels are from those of the target: one number a sample."""

    def prepare(self, target_view):
        """Once for each photo: what is compared with."""
        return self.differences(target_view)

    def forward(self, view, reference):
        """(N,): the gradient goes to the view."""
        pairs = zip(self.differences(view), reference, strict=True)
        return sum((mine - wanted).abs().flatten(1).mean(1) for mine, wanted in pairs)

    def differences(self, images):
        """Along the height and along the width, on the scale from -1 to 1."""
        images = ganenc.images.convert_range(images, self.value_range, (-1.0, 1.0))
        return images.diff(dim=2), images.diff(dim=3)


def main(steps: int) -> None:
    """Train an encoder towards it for a moment, and print how the terms fell."""
    run = ganenc.preset(
        "pretrain",
        generator="stylegan2-hands64",
        encoder={"overrides": {"map_gain": 0.1}},
        objective={"losses": {"mse": 5.0, "cos": 3.0, "edges": 2.0}, "attention": "none"},
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
