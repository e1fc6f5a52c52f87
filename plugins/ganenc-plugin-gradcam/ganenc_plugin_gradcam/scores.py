"""What a map explains: one score an image, of a class or, for images of no class, of all classes together."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from ganenc.objectives import Backbone
from ganenc_registry.errors import SpecError
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Of", "Scores"]

Of: TypeAlias = Literal["predicted", "given", "energy"]
"""The score: of the likeliest class, of the class in the labels, or the log of the sum of all exponentiated logits."""


class Scores(nn.Module):
    """A backbone as a function from images to one number each, of which a map shows the causes.

    ``predicted`` is the highest logit of the image. ``given`` is the logit of its label. ``energy`` is logsumexp of the
    logits, which is high for anything that the backbone knows (the negative of the free energy; Liu et al., 2020): it
    asks for no class, so it suits images that show none of the backbone's (not in paper).

    Args:
        backbone: a classifier.
        of: the score.

    Raises:
        SpecError: if the backbone is no classifier.
    """

    def __init__(self, backbone: Backbone, of: Of = "predicted") -> None:
        super().__init__()
        if not backbone.classes:
            raise SpecError(
                f"The backbone {backbone.name!r} is no classifier, so it has no Grad-CAM map; take another."
            )
        self.backbone = backbone
        self.of = of

    def forward(self, images: Tensor, rows: Tensor | None = None) -> Tensor:
        """Images as the backbone takes them => scores (N,), each of its own image alone.

        Args:
            images: (N, 3, H, W) from -1 to 1, as `Backbone.fit` gives them.
            rows: what `rows` gave for the labels, where the score is of given classes.
        """
        logits: Tensor | None = self.backbone(images).logits
        if logits is None or logits.shape != (len(images), self.backbone.classes):
            shape = None if logits is None else tuple(logits.shape)
            wanted = (len(images), self.backbone.classes)
            raise SpecError(f"The backbone {self.backbone.name!r} gives logits {shape}, not {wanted}.")
        if rows is not None:
            return (logits * rows).sum(1)
        return logits.logsumexp(1) if self.of == "energy" else logits.max(1).values

    def rows(self, labels: Tensor | None, images: Tensor, asked: Tensor | None = None) -> Tensor | None:
        """Labels => the weights (N, classes) of the logits in the score; None where it looks at no labels.

        Args:
            labels: int64 (N,), or rows (N, classes), which may mix classes.
            images: (N, C, H, W), that the labels are of.
            asked: classes to take in place of the labels, whatever the score is of else.

        Raises:
            SpecError: if labels are needed and absent, or do not fit.
        """
        if asked is not None:
            labels = asked
        elif self.of != "given":
            return None
        classes, count = self.backbone.classes, len(images)
        if labels is None:
            raise SpecError("A Grad-CAM map of given classes wants labels; give them, or take the map of 'predicted'.")
        labels = torch.as_tensor(labels, device=images.device)
        if labels.shape == (count, classes):
            return labels.to(images.dtype)
        name = self.backbone.name
        if labels.shape != (count,) or labels.is_floating_point() or labels.dtype == torch.bool:
            found = f"{tuple(labels.shape)} of {labels.dtype}"
            raise SpecError(
                f"Labels for Grad-CAM are int64 ({count},) or rows ({count}, {classes}); these are {found}."
            )
        if bool(((labels < 0) | (labels >= classes)).any()):
            raise SpecError(
                f"The classes of the backbone {name!r} run from 0 to {classes - 1}, and the labels leave them; take a"
                " backbone that knows the generator's classes, or the map of 'predicted'."
            )
        return F.one_hot(labels.long(), classes).to(images.dtype)
