"""A generator, its encoder and backbone, and what is made of them once for all photos."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from ganenc_registry import registry
from ganenc_registry.components import Context, build
from ganenc_registry.errors import SpecError, WeightsMissingError
from ganenc_registry.specs import Choice, ObjectiveSpec
from torch import Tensor

from ganenc.encoders import Encoder, check_fits
from ganenc.generators import Generator, LabelsGiven
from ganenc.images import Fit
from ganenc.inversion.alignment import Aligner
from ganenc.inversion.defaults import Purpose, default_method
from ganenc.inversion.entry import Method, build_inverter
from ganenc.inversion.inverter import Inverter
from ganenc.inversion.judging import Judge
from ganenc.inversion.operators import Operators, build_operator
from ganenc.inversion.photo import Photo, Readable, read_photo
from ganenc.inversion.photo_classes import must_find
from ganenc.inversion.photo_folder import PhotoFolder
from ganenc.measures import Metric, OwnLatents, build_metrics
from ganenc.models import model_hash
from ganenc.objectives import (
    DEFAULT_BACKBONE,
    NO_BACKBONE,
    Backbone,
    Objective,
    build_objective,
    context_for,
    load_backbone,
)


class Parts:
    """A generator (frozen here) with its encoder and backbone, from ``source``, and what its config (``info``) says.

    ``backbone`` is the network behind LPIPS that the user chose, ``none`` for none; by default the one in ``info``. A
    SpecError says that the encoder is another generator's, an UnknownNameError that there is no such backbone.
    """

    def __init__(
        self,
        generator: Generator,
        encoder: Encoder | None = None,
        *,
        source: str = "",
        backbone: str | None = None,
        info: Mapping[str, Any] | None = None,
    ) -> None:
        if encoder is not None:
            check_fits(encoder.spec, generator.spec)
        self.generator, self.encoder, self.source = generator.freeze(), encoder, source
        self.info = dict(info or {})
        self.chosen_backbone = backbone
        self.backbone = backbone or str(self.info.get("backbone", DEFAULT_BACKBONE))
        """The name of the network behind LPIPS; ``none`` for none."""
        if self.backbone != NO_BACKBONE:
            registry().get("backbone", self.backbone)
        self._aligners: dict[str, Aligner] = {}
        self._judges: dict[int, Judge] = {}
        self._own_latents: dict[int, OwnLatents] = {}
        self._metrics: dict[tuple[str, ...], dict[str, Metric]] = {}
        self._lacks_backbone = False
        self._tuned: dict[str, PhotoFolder] = {}

    def __repr__(self) -> str:
        spec, encoder = self.generator.spec, "with its encoder" if self.encoder else "without encoder"
        size = "x".join(map(str, spec.size))
        return f"{type(self).__name__}({self.source!r}: {spec.family}, {size}, {encoder}, {self.backbone})"

    @cached_property
    def hash(self) -> str:
        """The hash of the generator's weights."""
        return model_hash(self.generator)

    @property
    def licence(self) -> str:
        """The licence of the weights."""
        return self.generator.spec.licence

    @property
    def context(self) -> Context:
        """What attentions, aligners and metrics are built for."""
        backbone = None if self.backbone == NO_BACKBONE else self.backbone
        return context_for(backbone, self.generator.spec, device=self.generator.device)

    @cached_property
    def mean_image(self) -> Tensor:
        """The generator's image of its mean latents, (1, C, H, W)."""
        with torch.no_grad():
            return self.generator.synthesize(self.generator.center())

    def read(
        self,
        photo: Readable | Photo,
        *,
        fit: Fit = "cover",
        align: Method | None = None,
        labels: Tensor | None = None,
        attention: Choice | None = None,
        operator: Operators | None = None,
    ) -> Photo:
        """A photo (a file, its bytes, a Pillow image, an array, or a tensor (C, H, W) in the generator's range) as this
        generator takes it, decoded once; an ImageError if it cannot be read, or has nothing to align by.

        ``fit`` is ``cover``, ``contain`` or ``stretch``, where it is not aligned; ``align`` a registered aligner, or it
        and its options, ``none`` or None to leave it at the fit; ``labels`` the photo's class (1,) or (1, classes),
        where it is known; ``attention`` where the objective looks, for aligners that look there. Through an
        ``operator`` the photo is what was seen, of the size that it shows, and not aligned where that is another.
        """
        if isinstance(photo, Photo):
            return photo
        aligner = self.aligner(align, attention)
        spec, exact = self.generator.spec, False
        if operator is not None:
            size = build_operator(operator, self.context).seen_size(spec.size)
            spec, exact = spec.model_copy(update={"size": size}), size != spec.size
        if exact and aligner is not None:
            raise SpecError("A photo that was made small is not aligned; leave the alignment out.")
        found = read_photo(photo, spec, fit=fit, aligner=aligner, labels=labels, exact=exact)
        chosen = None if align is None or aligner is None else Choice.of(align).to_mapping()
        return replace(found, read_with={"fit": fit, "align": chosen})

    def aligner(self, align: Method | None, attention: Choice | None = None) -> Aligner | None:
        """A registered aligner with its options, built once; None for ``none``; see `read` for the attention. An
        UnknownNameError if there is none of that name, a SpecError naming a wrong option and the nearest right one."""
        choice = None if align is None else Choice.of(align, at="align")
        if choice in (None, Choice(name="none")):
            return None
        key = choice.to_json() + ("" if attention is None else attention.to_json())
        if key not in self._aligners:
            context = replace(self.context, attention=attention)
            self._aligners[key] = build("aligner", choice, Aligner, context, at="align")
        return self._aligners[key]

    def other_aligners(self, attention: Choice | None = None) -> dict[str, Aligner]:
        """The alignments to try on photos that come back badly, by name; none but of pictures."""
        if self.generator.spec.shows != "pictures":
            return {}
        tried = {name: self.aligner(name, attention) for name in ("center", "attention")}
        return {name: aligner for name, aligner in tried.items() if aligner is not None}

    def labels(self, given: LabelsGiven | None, count: int) -> Tensor | None:
        """Labels, one for each of ``count`` photos or one for all, as int64 (count,) or rows (count, classes); a
        LatentsError if the generator has no classes, or they do not fit."""
        return None if given is None else self.generator.as_labels(given, count)

    def objective(self, spec: ObjectiveSpec | Mapping[str, Any] | None = None) -> Objective:
        """The paper's objective on this model's backbone, or a spec's (a SpecError if wrong). LPIPS is left out without
        a backbone, or where its weights cannot be had; if it was chosen, a WeightsMissingError."""
        if not isinstance(spec, ObjectiveSpec):
            spec = ObjectiveSpec.from_mapping(spec or {}, where="the objective")
        if spec.backbone is None and self.chosen_backbone not in (None, NO_BACKBONE):
            spec = spec.model_copy(update={"backbone": Choice(name=self.backbone)})
        return build_objective(spec, self.generator, own_backbone=self.backbone)

    def metric_backbone(self) -> Backbone | None:
        """The backbone for metrics; None where there is none, images are no pictures, or its weights cannot be had (if
        it was chosen, a WeightsMissingError)."""
        if self.backbone == NO_BACKBONE or self._lacks_backbone or self.generator.spec.shows != "pictures":
            return None
        try:
            return load_backbone(self.backbone, device=self.generator.device)
        except WeightsMissingError as error:
            if self.chosen_backbone is not None:
                raise
            self._lacks_backbone = True  # Which is said once.
            warnings.warn(f"LPIPS is left out: {error}", stacklevel=2)
            return None

    def needs_objective(
        self,
        method: Method | Inverter | None = None,
        labels: LabelsGiven | str | None = None,
        candidates: Sequence[int] | Tensor | None = None,
    ) -> bool:
        """Whether inverting compares images: by the method, or to find their labels."""
        find = must_find(self.generator, self.encoder, labels, candidates)
        return find or self.inverter(method).needs_objective

    def metrics(self, choices: Iterable[str] | Mapping[str, Any] = ("psnr", "ssim", "lpips")) -> dict[str, Metric]:
        """`ganenc.measures.build_metrics` for this generator's images, on this model's backbone; of signals and
        tiles those that are made for pictures are left out, with a warning. A WeightsMissingError if one needs the
        backbone, that was chosen, and its weights cannot be had."""
        named = choices if isinstance(choices, Mapping) else dict.fromkeys(choices)
        key = () if any(named.values()) else tuple(named)
        if key not in self._metrics or not key:
            spec = self.generator.spec
            some_need_it = len(build_metrics(named)) < len(named)
            backbone = self.metric_backbone() if some_need_it else None
            load = None if backbone is None else lambda: backbone
            found = self._metrics[key] = build_metrics(named, replace(self.context, load_backbone=load))
            if spec.shows != "pictures" and (out := [name for name in named if name not in found]):
                told = f"{spec.family} makes {spec.shows}, so what is made for pictures is left out"
                warnings.warn(f"{told}: {', '.join(out)}.", stacklevel=2)
        return dict(self._metrics[key])

    def inverter(self, method: Method | Inverter | None = None) -> Inverter:
        """A method with its options, by default the best there is; an UnknownNameError if there is no such method, a
        SpecError naming a wrong option and the nearest right one."""
        return build_inverter(method or self.default_method(), self.generator)

    def default_method(self, purpose: Purpose = "both") -> dict[str, Any]:
        """The best method that there is for a purpose, and its options."""
        return default_method(self.encoder is not None, purpose, self.generator.spec.layout)

    def own_latents(self, seed: int = 0) -> OwnLatents:
        """How the generator's own latents lie, learnt once."""
        if seed not in self._own_latents:
            self._own_latents[seed] = OwnLatents(self.generator, seed=seed)
        return self._own_latents[seed]

    def judge(self, seed: int = 0) -> Judge | None:
        """What tells whether a photo is like what the generator makes; None where there is no encoder."""
        if self.encoder is not None and seed not in self._judges:
            self._judges[seed] = Judge(self.generator, self.encoder, self.mean_image, seed=seed)
        return self._judges.get(seed)
