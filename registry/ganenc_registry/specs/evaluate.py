"""The spec of an evaluation: one file holds all that decides its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, field_validator

from ganenc_registry.specs.choice import Choice
from ganenc_registry.specs.invert import PhotosSpec
from ganenc_registry.specs.sizes import PositiveInt

__all__ = ["EvaluateSpec"]


def by_name(choices: Any) -> Any:
    """Choices by the names to report them under, from these or from names alone."""
    if not isinstance(choices, Mapping):
        return {name: name for name in choices} if isinstance(choices, list | tuple) else choices
    given = {name: {} if each is None else each for name, each in choices.items()}
    return {name: {"name": name, **each} if isinstance(each, Mapping) else each for name, each in given.items()}


class EvaluateSpec(PhotosSpec):
    """How photos, or images that the generator makes, are rebuilt, and what is measured of them, whole."""

    samples: PositiveInt | None = Field(None, description="so many synthesized images in place of photos")
    truncation: float = Field(1.0, ge=0, description="of synthesized images")
    method: Choice = Field(Choice(name="encode"), description="the inverter", json_schema_extra={"kind": "inverter"})
    metrics: dict[str, Choice] = Field(
        default_factory=dict,
        description="metrics by the names to report them under; none for those of the paper's tables",
        json_schema_extra={"kind": "metric"},
    )
    direction: str | None = Field(None, description="a direction to edit by, by its file or name: how well that goes")
    towards: Annotated[int, Field(ge=0)] | None = Field(
        None, description="the class of the backbone's that the direction leads to"
    )
    strengths: Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=1, max_length=1000)] = (
        Field([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0], description="how far, in deviations of the model's own latents")
    )
    folds: Annotated[int, Field(ge=2)] | None = Field(
        None, description="split the images at random into so many, and give the mean and the deviation over these"
    )

    _metrics_by_name = field_validator("metrics", mode="before")(by_name)
