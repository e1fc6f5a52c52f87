"""Directions by regression of a class's score on latents. The paper's reference 11 takes L1 logistic regression on
flattened W+, and moves layers 0 to 3."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import sklearn
from ganenc.editing import ClassFinder, Direction, Search, find_by_labels, margin
from pydantic import Field
from sklearn.linear_model import LogisticRegression, Ridge

__all__ = ["Regression"]


class Regression(ClassFinder):
    """As `classes`, by linear regression of the score on all draws, or by logistic regression on those that score
    highest and lowest, in place of an SVM; for scores of one's own see `ganenc.editing.find_by_labels`."""

    class Options(ClassFinder.Options):
        """What users can choose."""

        way: Literal["linear", "logistic"] = Field("linear", description="the regression: ridge, or logistic with L1")
        penalty: float | None = Field(
            None,
            gt=0,
            description="on coefficients, of latents that vary by 1 in all; 100 by default, or 0.1 (logistic)",
        )
        layers: list[Annotated[int, Field(ge=0)]] | None = Field(
            None, description="the layers of styles that are moved; all by default"
        )

    def find(self, search: Search) -> list[Direction]:
        """`regression-N` for each class; its info tells R^2, or the accuracy, on draws held out."""
        latents, logits = self.labelled(search, self.options.encoded)
        found = []
        for one in self.options.classes:
            way = find_by_labels(
                search.generator, latents, margin(logits, one), name=f"regression-{one}", machine=self._machine(),
                seed=search.seed,
            )  # fmt: skip
            found.append(way if self.options.layers is None else way.on_layers(self.options.layers))
        return found

    def _machine(self) -> Any:
        if self.options.way == "linear":
            return Ridge(alpha=self.options.penalty or 100.0)
        newer = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 8)
        sparse: dict[str, Any] = {"l1_ratio": 1.0} if newer else {"penalty": "l1"}
        return LogisticRegression(C=1 / (self.options.penalty or 0.1), solver="liblinear", random_state=0, **sparse)
