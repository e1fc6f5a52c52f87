"""The spec of a benchmark: methods compared on one model."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from ganenc_registry.specs.choice import Choice
from ganenc_registry.specs.evaluate import EvaluateSpec, by_name
from ganenc_registry.specs.run import ObjectiveSpec
from ganenc_registry.specs.sizes import PositiveInt

__all__ = ["BenchmarkSpec", "Entrant"]


class Entrant(Choice):
    """A method that is compared: an inverter, with an encoder and an objective of its own where it has some."""

    encoder: str | None = Field(
        None,
        description="the folder of an encoder or of a run, or a file of one; or a registered network, which is trained;"
        " by default the benchmark's",
    )
    objective: ObjectiveSpec | None = Field(None, description="by default the benchmark's")


class BenchmarkSpec(EvaluateSpec):
    """Which methods are compared, on what, and for how long, whole."""

    methods: dict[str, Entrant] = Field(
        default_factory=dict,
        description="the inverters, by the names to report them under",
        json_schema_extra={"kind": "inverter"},
    )
    seconds: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (5.0, 20.0, 60.0), description="times a photo, which steps are to fill"
    )
    own: bool = Field(True, description="also take each method on its own schedule")
    train: float = Field(0.0, ge=0, description="seconds for which each encoder that is missing is trained")
    threads: PositiveInt | None = Field(None, description="threads that torch may use; by default as many as it does")

    _methods_by_name = field_validator("methods", mode="before")(by_name)

    @model_validator(mode="after")
    def _compares(self) -> Self:
        if self.method != type(self).model_fields["method"].default:
            raise ValueError("method is of one; name those that are compared in methods")
        return self
