"""The spec of an inversion of photos: one file holds all that decides its results."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveFloat, field_validator

from ganenc_registry.specs.base import Spec
from ganenc_registry.specs.choice import Choice
from ganenc_registry.specs.run import ObjectiveSpec
from ganenc_registry.specs.sizes import NonNegativeInt, Seed

__all__ = ["InvertSpec", "PhotosSpec", "ShardSettings"]


class PhotosSpec(Spec):
    """What is inverted, and how but for the method."""

    model: str = Field("", description="a shipped model, a model folder, a checkpoint or user/name on the Hub")
    encoder: str | None = Field(None, description="the folder of an encoder or of a run; by default the model's own")
    backbone: str | None = Field(
        None, description="the network behind LPIPS, or none for none; by default the model's own, else vgg16"
    )
    photos: tuple[str, ...] = Field((), description="files, folders, patterns, or .txt files with one on each line")
    objective: ObjectiveSpec = ObjectiveSpec()
    labels: tuple[NonNegativeInt, ...] | str | None = Field(
        None,
        description="classes, one each or one for all; folders or names, to read them from there; a file of photos and"
        " classes; predicted or searched; by default the best way there is",
    )
    candidates: tuple[NonNegativeInt, ...] | None = Field(None, description="the classes among which to search")
    seed: Seed = Field(0, description="of all that is drawn")
    fit: Literal["cover", "contain", "stretch"] = Field(
        "cover", description="how a photo that is not aligned is brought to size"
    )
    align: Choice | None = Field(
        None,
        description="the aligner that finds the part of a photo to invert; none, the default, leaves it to the fit",
        json_schema_extra={"kind": "aligner"},
    )
    device: str = Field("cpu", description="cpu, cuda, cuda:N or mps")

    @field_validator("align", mode="before")
    @classmethod
    def _none(cls, value: Any) -> Any:
        return None if value in ("none", {"name": "none"}, {"name": "none", "options": {}}) else value


class ShardSettings(Spec):
    """What is read from shards and written of them."""

    image: str | None = Field(
        None, description="the column, or in a tar the ending, that holds the photo; by default the only one that can"
    )
    label: str | None = Field(None, description="the column, or in a tar the ending, that holds the class")
    numbers: Literal["float32", "float16"] = Field("float32", description="what latents are kept as")
    reconstructions: Literal["none", "png", "jpeg"] = Field("none", description="what pictures are kept as")
    metrics: tuple[str, ...] = Field(("psnr", "ssim", "lpips"), description="taken of each photo, psnr among them")
    refine_below: float | None = Field(
        None,
        allow_inf_nan=False,
        description="the PSNR of one pass below which a photo is inverted by the method; by default all are",
    )

    @field_validator("metrics")
    @classmethod
    def _told(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "psnr" not in value:
            raise ValueError("psnr is always among them")
        return value


class InvertSpec(PhotosSpec):
    """How photos are inverted, whole."""

    method: Choice | None = Field(
        None,
        description="the inverter; by default what the purpose takes",
        json_schema_extra={"kind": "inverter"},
    )
    purpose: Literal["both", "rebuild", "edit", "restore", "fill"] = Field(
        "both",
        description="what photos are inverted for: both takes tune, rebuild takes finetune+refine, either optimize"
        " where there is no encoder; edit takes tune, and holds edits more; restore, and through an operator both,"
        " takes newton held to the encoder's latents; fill, and through an operator that hides parts both, or where"
        " there is no encoder, takes optimize held to what the generator draws",
    )
    operator: tuple[Choice, ...] = Field(
        (),
        description="what happened to the photos before they were seen, one after another; by default nothing",
        json_schema_extra={"kind": "operator"},
    )
    seconds: PositiveFloat | None = Field(
        None, description="as many steps as fill them for each photo on this machine, in place of method.options.steps"
    )
    shards: ShardSettings = Field(ShardSettings(), description="what is read from shards and written of them")
