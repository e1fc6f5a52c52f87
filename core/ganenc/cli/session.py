"""What the commands with tensors share: a generator with its encoder and backbone, loaded by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ganenc_registry.errors import SpecError, WeightsMissingError

from ganenc.cli.console import say

if TYPE_CHECKING:
    from ganenc_registry.specs import ObjectiveSpec
    from torch import Tensor

    from ganenc.encoders import Encoder
    from ganenc.generators import Generator
    from ganenc.measures import Metric
    from ganenc.objectives import Attention, Backbone, Objective

__all__ = ["NO_BACKBONE", "Session", "open_session"]

DEFAULT_BACKBONE = "vgg16"
NO_BACKBONE = "none"


@dataclass(frozen=True)
class Session:
    """A generator with what is needed to invert and to judge.

    Attributes:
        source: the name, folder or file that the generator was loaded from.
        generator: the generator, frozen.
        encoder: its encoder, if there is one.
        hash: the hash of the generator's weights.
        backbone: the name of the backbone behind LPIPS; ``none`` for none.
        backbone_chosen: whether the user named it.
        towards: fields of the objective's spec that the user gave.
    """

    source: str
    generator: Generator
    encoder: Encoder | None
    hash: str
    backbone: str
    backbone_chosen: bool = False
    towards: Mapping[str, Any] = field(default_factory=dict)

    def metric_backbone(self) -> Backbone | None:
        """The backbone for metrics. Where it was not asked for and its weights are not here, LPIPS is left out."""
        from ganenc.objectives import load_backbone

        if self.backbone == NO_BACKBONE:
            return None
        try:
            return load_backbone(self.backbone, device=self.generator.device)
        except WeightsMissingError as error:
            if self.backbone_chosen:
                raise
            say(f"LPIPS is left out: {error}")
            return None

    def metrics(
        self, choices: Sequence[str] | Mapping[str, Any] = ("psnr", "ssim", "lpips")
    ) -> tuple[Backbone | None, dict[str, Metric]]:
        """Metrics as `ganenc.measures.build_metrics` gives them, and the backbone that they are taken on."""
        from ganenc_registry.components import Context

        from ganenc.measures import build_metrics

        spec, device = self.generator.spec, str(self.generator.device)
        some_need_it = len(build_metrics(choices)) < len(choices)
        backbone = self.metric_backbone() if some_need_it else None
        load = None if backbone is None else lambda: backbone
        context = Context(generator=spec, value_range=spec.value_range, device=device, load_backbone=load)
        return backbone, build_metrics(choices, context)

    def objective(self) -> Objective:
        """The paper's objective with this backbone, but for what is asked; without one its LPIPS term is left out.

        Raises:
            SpecError: if what is asked for does not fit.
        """
        from ganenc.objectives import build_objective

        return build_objective(self._towards(), self.generator, own_backbone=self.backbone)

    def attention(self) -> Attention:
        """The attention of that objective by itself.

        Raises:
            SpecError: if what is asked for does not fit.
        """
        from ganenc.objectives import build_attention, context_for

        spec, generator = self._towards(), self.generator
        return build_attention(spec.attention, context_for(spec.backbone, generator.spec, device=generator.device))

    def _towards(self) -> ObjectiveSpec:
        """The spec of the objective."""
        from ganenc_registry.specs import ObjectiveSpec

        base = {} if self.backbone == NO_BACKBONE else {"backbone": self.backbone}
        return ObjectiveSpec.from_mapping({**base, **self.towards}, where="--set objective")

    def objective_for(
        self, method: str, labels: Tensor | str | None, candidates: Sequence[int] | None = None
    ) -> Objective | None:
        """The objective, where the method needs one or labels have to be found; None for one pass without."""
        from ganenc.inversion import must_find

        find = must_find(self.generator, self.encoder, labels, candidates)
        return self.objective() if find or method != "encode" else None

    def labels(self, given: Sequence[int] | None, count: int) -> Tensor | None:
        """Labels as int64 (count,), one each or one for all; None where none are given.

        Raises:
            SpecError: if labels are of no use, too many, or no classes.
        """
        import torch

        if given is None:
            return None
        classes = self.need_classes()
        if len(given) not in (1, count):
            raise SpecError(f"--labels gives {len(given)} for {count}; give one each, or one for all.")
        if max(given) >= classes:
            raise SpecError(f"--labels: {max(given)} is no class of {self.source}; they run from 0 to {classes - 1}.")
        chosen = list(given) * (count if len(given) == 1 else 1)
        return torch.tensor(chosen, dtype=torch.int64, device=self.generator.device)

    def need_classes(self) -> int:
        """The number of the generator's classes.

        Raises:
            SpecError: if there are none, so that labels are of no use.
        """
        if not self.generator.spec.classes:
            raise SpecError(f"{self.source} has no classes, so --labels are of no use; leave them out.")
        return self.generator.spec.classes


def open_session(
    model: str,
    *,
    encoder: str | None = None,
    device: str = "cpu",
    backbone: str | None = None,
    seek_encoder: bool = True,
    towards: Mapping[str, Any] | None = None,
) -> Session:
    """Load a generator and what belongs to it.

    Args:
        model: an installed model, a model folder, or a checkpoint.
        encoder: the folder of an encoder or of a run's; by default the one inside the model.
        device: where to.
        backbone: a registered backbone, or ``none``; by default what the model's config names.
        seek_encoder: whether an encoder is wanted at all.
        towards: fields of the objective's spec that differ from the paper's.

    Raises:
        GanencError: if something is not there or does not fit.
    """
    from ganenc.encoders import check_fits
    from ganenc.files import check_device
    from ganenc.models import load_encoder, load_generator, model_hash, resolve

    device = check_device(device)
    generator = load_generator(model, device=device)
    digest = model_hash(generator)
    found = None
    named = resolve(model)
    place = (encoder or named.encoder) if seek_encoder else None
    if place is not None:
        found = load_encoder(place, device=device)
        check_fits(found.spec, generator.spec)
        _check_origin(str(place), digest, model)
    chosen = backbone or str(named.info.get("backbone", DEFAULT_BACKBONE))
    if chosen != NO_BACKBONE:
        from ganenc_registry import registry

        registry().get("backbone", chosen)
    return Session(model, generator, found, digest, chosen, backbone is not None, towards or {})


def _check_origin(place: str, digest: str, model: str) -> None:
    """Warn where an encoder was trained for other weights of the same shape."""
    from ganenc.models import resolve

    folder = resolve(place).encoder
    origin = "" if folder is None else resolve(folder).info.get("generator", "")
    if isinstance(origin, str) and len(origin) == len(digest) and origin != digest:
        say(f"Note: the encoder {place} was trained for the weights {origin[:12]}; {model} has {digest[:12]}.")
