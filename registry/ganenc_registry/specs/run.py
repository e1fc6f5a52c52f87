"""The spec of a run: one file describes a training or fine-tuning whole, and reproduces it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, NonNegativeFloat, field_validator, model_validator
from typing_extensions import Self

from ganenc_registry.errors import nearest
from ganenc_registry.specs.base import Spec
from ganenc_registry.specs.choice import Choice
from ganenc_registry.specs.encoder import EncoderSpec
from ganenc_registry.specs.sizes import Count, NonNegativeInt, PositiveInt, Seed

__all__ = [
    "DataChoice",
    "EncoderChoice",
    "Guards",
    "LatentLoss",
    "LossChoice",
    "MemoryFormat",
    "ObjectiveSpec",
    "OptimiserSpec",
    "RunSpec",
    "Saving",
    "Speed",
]

Decay: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
"""The decay of a running average."""


class EncoderChoice(Spec):
    """Which encoder is trained, and what it starts from."""

    weights: str | None = Field(
        None, description="a model folder or a shipped model to start from; new weights if none"
    )
    overrides: dict[str, Any] = Field(
        default_factory=dict, description="fields of the encoder's spec that differ from the generator's mirror"
    )

    @field_validator("overrides")
    @classmethod
    def _known(cls, value: dict[str, Any]) -> dict[str, Any]:
        unknown = sorted(set(value) - set(EncoderSpec.model_fields))
        if unknown:
            known = EncoderSpec.model_fields
            hint = nearest(unknown[0], known)
            raise ValueError(f"an encoder's spec has no field {unknown[0]!r}{hint}; it has {', '.join(known)}")
        return value


class LossChoice(Choice):
    """A loss with its weight (Equation 3). A number stands for the weight; the name is by default the loss's key."""

    weight: NonNegativeFloat = Field(1.0, description="its weight in the sum; 0 leaves it out")


_PAPER = {"mse": 5.0, "cos": 3.0, "lpips": 2.0, "ssim": 1.0}
"""alpha, beta, gamma and delta of Equation 3."""


class LatentLoss(Spec):
    """The latent loss (Equations 4 to 6)."""

    weight: float = Field(0.01, ge=0, description="epsilon of Equation 6; 0 switches the loss off")
    mse: float = Field(5.0, ge=0, description="alpha of Equation 4")
    cos: float = Field(3.0, ge=0, description="beta of Equation 4")
    parts: dict[str, NonNegativeFloat] | None = Field(
        None, description="weight of each part (Equation 5); 1 each by default"
    )
    on_photos: bool = Field(
        True, description="on photos, compare E(y) with E(G(E(y))); costs a second pass of the encoder"
    )

    @model_validator(mode="after")
    def _compares(self) -> Self:
        if not (self.mse or self.cos) or (self.parts is not None and not any(self.parts.values())):
            raise ValueError("it compares nothing: give mse or cos, and a part, a weight above 0")
        return self


class ObjectiveSpec(Spec):
    """What the encoder is trained towards (Equations 2, 3 and 6)."""

    losses: dict[str, LossChoice] = Field(
        {name: LossChoice(name=name, weight=weight) for name, weight in _PAPER.items()},
        description="the losses by name, each with its weight (Equation 3)",
        json_schema_extra={"kind": "loss"},
    )
    attention: Choice = Field(
        Choice(name="center"),
        description="the views that the losses see; its `weights` are mu1 and mu2 of Equation 2",
        json_schema_extra={"kind": "attention"},
    )
    size: PositiveInt | None = Field(
        256,
        description="longer side at which larger images are looked at, averaged once; the pixels of the whole image are"
        " compared at full size besides. Null looks at full size throughout",
    )
    latent: LatentLoss = LatentLoss()
    backbone: Choice | None = Field(
        None,
        description="the network behind lpips and Grad-CAM; by default the model's own, else vgg16",
        json_schema_extra={"kind": "backbone"},
    )
    image_gradient: bool = Field(
        True, description="whether image losses reach the encoder; without them (strategy 1) the latent loss alone does"
    )
    log_images: bool = Field(False, description="compute the image losses for the log where they reach nothing")

    @field_validator("losses", mode="before")
    @classmethod
    def _by_key(cls, losses: Any) -> Any:
        if not isinstance(losses, Mapping):
            return losses
        given = {key: {"weight": each} if isinstance(each, int | float) else each for key, each in losses.items()}
        return {key: {"name": key, **each} if isinstance(each, Mapping) else each for key, each in given.items()}

    @field_validator("attention", mode="before")
    @classmethod
    def _center(cls, attention: Any) -> Any:
        return {"name": "center", **attention} if isinstance(attention, Mapping) else attention

    @model_validator(mode="after")
    def _learns(self) -> Self:
        if not self.image_gradient and not self.latent.weight:
            raise ValueError("image_gradient is off and latent.weight is 0, so nothing would reach the encoder")
        return self


class OptimiserSpec(Spec):
    """Adam and its schedule; one step per iteration on the sum of all losses."""

    rate: float = Field(0.0015, gt=0, description="learning rate")
    betas: tuple[Decay, Decay] = Field((0.0, 0.99), description="decay of Adam's averages")
    schedule: Literal["constant", "cosine"] = Field("constant", description="how the rate goes on after the warm-up")
    warmup: NonNegativeInt = Field(0, description="steps over which the rate rises from 0")
    average: Decay = Field(0.0, description="decay of the averaged copy that is kept; 0 keeps the last")
    clip: float = Field(0.0, ge=0, description="largest norm of the gradient; 0 for no bound")


class DataChoice(Spec):
    """What is trained on: images that the generator makes, photos, or both."""

    photos: tuple[str, ...] = Field((), description="folders, files or patterns with photos, for fine-tuning")
    photo_share: float = Field(1.0, ge=0, le=1, description="share of all steps that are on photos")
    batch: PositiveInt | None = Field(None, description="images a step; by default 8 to 256 pixels, 4 to 512, then 2")
    samples: NonNegativeInt = Field(0, description="how many different images are synthesized; 0 never repeats one")
    cache: str | None = Field(
        None, description="folder that keeps the samples, 8 bits at the encoder's size, so that each is made once"
    )
    truncation: float = Field(1.0, ge=0, description="truncation of synthesized images")
    labels: tuple[NonNegativeInt, ...] | None = Field(None, description="the photos' labels, one each or one for all")
    fit: Literal["cover", "contain", "stretch"] = Field("cover", description="how a photo is brought to size")


class Guards(Spec):
    """What keeps a run from harm."""

    nan: bool = Field(True, description="return to the last good state, at half the rate, when a loss is not finite")
    nan_retries: NonNegativeInt = Field(5, description="how often, before the run gives up")
    good_every: PositiveInt = Field(50, description="steps between two states to return to")
    plateau: NonNegativeInt = Field(0, description="stop when the loss has not improved for so many steps; 0 never")
    plateau_share: float = Field(0.001, ge=0, description="by which share the loss has to fall to count as improved")


class Saving(Spec):
    """What a run writes, and when."""

    checkpoint_every: PositiveInt = Field(500, description="steps between two checkpoints")
    keep: Count = Field(2, description="how many checkpoints stay")
    best: bool = Field(True, description="also keep the encoder of the checkpoint with the lowest smoothed loss")
    trackers: tuple[str, ...] = Field(
        ("tensorboard",), description="where metrics go besides: trackers of accelerate, such as wandb or trackio"
    )
    log_every: PositiveInt = Field(10, description="steps between two rows of metrics")
    grid_every: PositiveInt = Field(500, description="steps between two sample grids")
    grid: Count = Field(8, description="images in a sample grid")


MemoryFormat: TypeAlias = Literal["auto", "channels_last", "contiguous"]


class Speed(Spec):
    """Switches that change speed and memory, and results not beyond rounding, autocast aside."""

    encoder_format: MemoryFormat = Field(
        "auto", description="memory format of the encoder and its images; auto: what is faster here, measured once"
    )
    generator_format: MemoryFormat = Field("auto", description="the same of the generator")
    generator_ways: dict[str, str] = Field(
        {}, description="ways of the generator to compute what it can in several; of others what is faster here"
    )
    autocast: Literal["none", "bf16", "fp16"] = Field("none", description="precision of the forward passes")
    compile: bool = Field(False, description="torch.compile of the generator")
    micro_batch: PositiveInt | Literal["auto"] | None = Field(
        None, description="images at a time, gradients summed; auto: as many as fit into memory; all by default"
    )
    checkpointing: bool = Field(
        False, description="compute the passes of encoder and generator anew for the gradient, to save memory"
    )
    prefetch: Literal["auto", "on", "off"] = Field(
        "auto", description="make the next batch during the step; auto: on a GPU, where it is of use"
    )


class RunSpec(Spec):
    """A run, whole."""

    task: Literal["pretrain", "finetune"] = Field(description="train on synthesized images, or on photos")
    model: str = Field("", description="a shipped model, a model folder, a checkpoint or user/name on the Hub")
    encoder: EncoderChoice = EncoderChoice()
    objective: ObjectiveSpec = ObjectiveSpec()
    recipe: Choice = Field(
        Choice(name="encoder"), description="what one training step does", json_schema_extra={"kind": "recipe"}
    )
    optimiser: OptimiserSpec = OptimiserSpec()
    data: DataChoice = DataChoice()
    steps: NonNegativeInt = Field(0, description="steps in all; by default as many as `epochs` take")
    epochs: NonNegativeInt = Field(0, description="passes over the samples or photos, where no steps are given")
    seed: Seed = Field(0, description="of data, weights and noise")
    device: str = Field("cpu", description="cpu, cuda, cuda:N or mps")
    guards: Guards = Guards()
    saving: Saving = Saving()
    speed: Speed = Speed()

    @model_validator(mode="after")
    def _has_length(self) -> Self:
        if not self.steps and not self.epochs:
            raise ValueError("a run takes steps, or epochs, above 0")
        if not self.steps and self.task == "pretrain" and not self.data.samples:
            raise ValueError("epochs are passes over data.samples, which is 0: that never repeats; give steps")
        return self

    @model_validator(mode="after")
    def _has_photos(self) -> Self:
        if self.task == "pretrain" and self.data.photos:
            raise ValueError("data.photos are for the task 'finetune'; a 'pretrain' run synthesizes its images")
        of_photos: tuple[str, ...] = ("labels", "photo_share", "fit")
        others = () if self.mixes_photos else ("samples", "cache", "truncation")
        unused, lacking = (of_photos, "photos") if self.task == "pretrain" else (others, "synthesized images")
        for name in unused:
            if getattr(self.data, name) != DataChoice.model_fields[name].default:
                raise ValueError(f"data.{name} is for {lacking}, and this run has none; leave it out")
        return self

    @model_validator(mode="after")
    def _bounds_its_cache(self) -> Self:
        if self.data.cache and not self.data.samples:
            raise ValueError("data.cache keeps data.samples different images, which is 0; give their number")
        return self

    @property
    def mixes_photos(self) -> bool:
        """Whether some steps are on photos and the others on synthesized images."""
        return self.task == "finetune" and self.data.photo_share < 1

    def resolved(self, resolution: int, photos: int = 0) -> RunSpec:
        """The same run with batch and steps as numbers, for images of that resolution and so many photos."""
        batch = self.batch_at(resolution)
        samples, size = float(self.data.samples), batch
        if photos:  # Steps on synthesized images come on top of those that the photos take.
            samples, size = photos / (self.data.photo_share or 1.0), min(batch, photos)
        steps = self.steps or max(1, int(self.epochs * samples / size))
        data = self.data.model_copy(update={"batch": batch})
        return self.model_copy(update={"data": data, "steps": steps, "epochs": 0})

    def batch_at(self, resolution: int) -> int:
        """Images a step: the paper's 8, 4 and 2 at 256, 512 and 1024 pixels (section 4.1) unless the spec says."""
        if self.data.batch:
            return self.data.batch
        return 8 if resolution <= 256 else 4 if resolution <= 512 else 2
