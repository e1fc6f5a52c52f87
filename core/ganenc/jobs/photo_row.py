"""Rows of an index as they are read: whatever lies in the file, a row holds what those who read it count on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, FiniteFloat, ValidationError

from ganenc.files import as_path, is_plain_name

DONE, FAILED, AGAIN = "done", "failed", "again"
"""What became of a photo; of one that is to be inverted anew nothing yet."""
_LACKING = {"psnr": math.inf}
"""What a metric that JSON does not have was: images that are equal have infinite PSNR."""


def read_row(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """A row whose fields are of their types, its folder a name inside the job's; what is damaged is a row of a photo
    that is to be inverted `AGAIN`, or None where it names no photo and folder."""
    for model, status in ((_Done if row.get("status") == DONE else _Row, row.get("status")), (_Named, AGAIN)):
        try:
            return {**row, **model.model_validate(row).model_dump(exclude_unset=True), "status": status}
        except ValidationError:
            pass
    return None


def _photo(text: str) -> str:
    as_path(text)
    return text


def _folder(text: str) -> str:
    name = as_path(text)
    if not is_plain_name(name):
        raise ValueError("a photo's folder lies in that of the job")
    return name


def _metrics(values: dict[str, float | None]) -> dict[str, float]:
    if "psnr" not in values:
        raise ValueError("PSNR is always taken")
    return {name: _LACKING.get(name, math.nan) if value is None else value for name, value in values.items()}


_Metrics: TypeAlias = Annotated[dict[str, float | None], AfterValidator(_metrics)]


class _Named(BaseModel):
    model_config = ConfigDict(strict=True)
    photo: Annotated[str, AfterValidator(_photo)]
    folder: Annotated[str, AfterValidator(_folder)]


class _Row(_Named):
    status: Literal["done", "failed", "again"]
    settings: str
    bytes: int | None = None
    modified: int | None = None
    given_label: int | None = None
    error: str = ""


class _Done(_Row):
    metrics: _Metrics
    metrics_of_the_mean_image: _Metrics
    seconds: FiniteFloat
    label: int | None = None
    labels_from: str | None = None
    warning: str | None = None
