"""StyleCLIP (Patashnik et al., 2021): directions towards a text, by a backbone that embeds images and texts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from ganenc.editing import Direction, Finder, Search, between_sets
from ganenc.generators import Generator, Reading
from ganenc.images import convert_range
from ganenc.latents import Latents, main_part
from ganenc.models import model_hash
from ganenc.objectives import Backbone, load_backbone
from ganenc_registry.errors import LatentsError, SpecError
from ganenc_registry.specs import Spec, Styles
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ganenc_plugin_methods.text_image import TextImage

__all__ = ["Mapper", "StyleCLIP", "towards_text", "train_mapper"]

CHUNK = 16
GROUPS = (4, 8)
"""Where the middle and the fine layers of styles begin (section 5), each group with a network of its own."""


class StyleCLIP(Finder):
    """Towards a text: by optimising the mean latents (section 4), by a mapper that is trained on draws (section 5), or
    by the channels of the style space that a text asks for (section 6), carried to W+."""

    class Options(Spec):
        """What users can choose."""

        text: str = Field("", description="what images are to become")
        neutral: str = Field("", description="what they are already, for `global`; 'a photo' where it is empty")
        way: Literal["optimiser", "mapper", "global"] = Field("optimiser", description="how the way is found")
        steps: int = Field(100, ge=1, description="steps of the optimiser, or of the mapper's training")
        rate: float | None = Field(None, gt=0, description="of Adam; by default 0.1, of the mapper 0.01")
        latent: float | None = Field(
            None, ge=0, description="weight of the squared distance of w; by default 0.008, of the mapper 0.8"
        )
        identity: float = Field(0.0, ge=0, description="weight of 1 - the cosine of another backbone's embeddings")
        identity_backbone: str | None = Field(None, description="this backbone")
        batch: int = Field(4, ge=1, description="draws in each step of the mapper")
        images: int = Field(16, ge=1, description="draws whose channels are moved, for `global`")
        deviations: float = Field(5.0, gt=0, description="how far a channel is moved, for `global`")
        threshold: float = Field(
            0.15, ge=0, lt=1, description="the relevance under which channels stay, over the greatest, for `global`"
        )

    def find(self, search: Search) -> list[Direction]:
        """One, named after the text; a strength of 1 goes all the way of the optimiser or the mapper."""
        chosen, backbone = self.options, self.context.backbone
        if not isinstance(backbone, TextImage):
            raise SpecError(
                f"StyleCLIP takes a backbone that reads texts, and {backbone.name!r} does not; name one such as"
                " open-clip."
            )
        if not chosen.text.strip():
            raise SpecError("Say what images are to become, by method.options.text.")
        name = "-".join("".join(one if one.isalnum() else " " for one in chosen.text.lower()).split())[:40] or "text"
        generator = search.generator
        with torch.random.fork_rng(), torch.inference_mode(False), torch.enable_grad():
            torch.manual_seed(search.seed)
            if chosen.way == "global":
                return [_by_channels(search, backbone, chosen, name)]
            other = load_backbone(chosen.identity_backbone, device=generator.device) if chosen.identity else None
            known = {"steps": chosen.steps, "identity": chosen.identity, "other": other}
            known |= {key: value for key in ("rate", "latent") if (value := getattr(chosen, key)) is not None}
            drawn = generator.sample(search.n, seed=search.seed, labels=search.labels)
            start = generator.center() if chosen.way == "optimiser" else drawn
            if chosen.way == "optimiser":
                end = towards_text(generator, start, backbone, chosen.text, search=search, **known)
            else:
                end = train_mapper(search, backbone, chosen.text, batch=chosen.batch, **known).move(drawn, 1.0)
        info = {"found": f"by StyleCLIP ({chosen.way})", "text": chosen.text}
        return [between_sets(generator, start, generator.complete(end), name=name, info=info)]


def towards_text(
    generator: Generator,
    latents: Latents,
    backbone: TextImage,
    text: str,
    *,
    steps: int = 100,
    rate: float = 0.1,
    latent: float = 0.008,
    identity: float = 0.0,
    other: Backbone | None = None,
    search: Search | None = None,
) -> Latents:
    """Latents (N), moved until their images fit a text (section 4): Adam on 1 - the cosine of both embeddings, plus the
    squared distance of the latents, plus 1 - the cosine of ``other``'s embeddings of the images before and after."""
    loss = _Loss(generator, backbone, text, latent, identity, other)
    name = main_part(generator.spec.layout).name
    start = generator.complete(latents)
    before = loss.images(start).detach() if identity else None
    moving = start[name].detach().clone().requires_grad_()
    optimiser = torch.optim.Adam([moving], lr=rate)
    for step in range(steps):
        optimiser.zero_grad()
        loss(start.replace(**{name: moving}), moving - start[name], before).backward()
        optimiser.step()
        if search is not None:
            search.tell(step + 1, steps)
    return Latents(start.layout, {**start.tensors, name: moving.detach()}, model=start.model)


class Mapper(nn.Module):
    """A network for each group of layers, which says where latents are to be moved (section 5): four linear layers."""

    def __init__(self, layers: int, dim: int) -> None:
        super().__init__()
        self.ends = [*(end for end in GROUPS if end < layers), layers]
        steps = [nn.Sequential(nn.Linear(dim, dim), nn.LeakyReLU(0.2)) for _ in range(3 * len(self.ends))]
        self.groups = nn.ModuleList(
            nn.Sequential(*steps[3 * at : 3 * at + 3], nn.Linear(dim, dim)) for at in range(len(self.ends))
        )

    def forward(self, rows: Tensor) -> Tensor:
        """(N, layers, dim) => where they are to be moved, of the same shape."""
        starts = [0, *self.ends]
        scaled = rows / rows.square().mean(2, keepdim=True).add(1e-8).sqrt()
        parts = [group(scaled[:, a:b]) for group, a, b in zip(self.groups, starts, self.ends)]
        return 0.1 * torch.cat(parts, 1)

    def move(self, latents: Latents, strength: float) -> Latents:
        """Latents, moved by the mapper times a strength; as `Direction.apply` moves them."""
        name = main_part(latents.layout).name
        old = latents[name]
        rows = old if old.ndim == 3 else old[:, None]
        moved = old + strength * self(rows.to(next(self.parameters()))).reshape(old.shape).to(old)
        return Latents(latents.layout, {**latents.tensors, name: moved}, model=latents.model)


def train_mapper(
    search: Search,
    backbone: TextImage,
    text: str,
    *,
    steps: int = 100,
    batch: int = 4,
    rate: float = 0.01,
    latent: float = 0.8,
    identity: float = 0.0,
    other: Backbone | None = None,
) -> Mapper:
    """A mapper whose images of draws fit a text (section 5), trained by Adam (the published code takes Ranger) on draws
    that come after those of the search. `Mapper.move` moves any latents."""
    generator = search.generator
    loss = _Loss(generator, backbone, text, latent, identity, other)
    part = main_part(generator.spec.layout)
    mapper = Mapper(part.layers if isinstance(part, Styles) else 1, part.dim).to(generator.device)
    optimiser = torch.optim.Adam(mapper.parameters(), lr=rate)
    for step in range(steps):
        drawn = generator.complete(generator.sample(batch, seed=search.seed, first=search.n + step * batch))
        moved = mapper.move(drawn, 1.0)
        optimiser.zero_grad()
        before = loss.images(drawn).detach() if identity else None
        (loss(moved, moved[part.name] - drawn[part.name], before) / batch).backward()
        optimiser.step()
        search.tell(step + 1, steps)
    return mapper.requires_grad_(False)


class _Loss:
    """What is made smaller, summed over samples."""

    def __init__(
        self,
        generator: Generator,
        backbone: TextImage,
        text: str,
        latent: float,
        identity: float,
        other: Backbone | None,
    ) -> None:
        self.generator, self.backbone, self.latent = generator, backbone, latent
        self.identity, self.other = identity, other
        with torch.no_grad():
            self.text = backbone.embed_texts([text])

    def images(self, latents: Latents) -> Tensor:
        """From -1 to 1."""
        return convert_range(self.generator.synthesize(latents), self.generator.spec.value_range, (-1.0, 1.0))

    def __call__(self, latents: Latents, moved: Tensor, before: Tensor | None) -> Tensor:
        images = self.images(latents)
        loss = (1 - torch.cosine_similarity(_embedded(self.backbone, images), self.text)).sum()
        loss = loss + self.latent * moved.square().sum()
        if before is not None and self.other is not None:
            one, two = (self.other(self.other.fit(some)).features[-1].mean((2, 3)) for some in (images, before))
            loss = loss + self.identity * (1 - torch.cosine_similarity(one, two)).sum()
        return loss


@torch.no_grad()
def _by_channels(search: Search, backbone: TextImage, chosen: StyleCLIP.Options, name: str) -> Direction:
    """The channels of the style space that a text asks for, as the way in W+ that comes nearest to them."""
    generator = search.generator
    part = main_part(generator.spec.layout)
    readings = [one for one in generator.readings() if one.part == part.name and one.layer is not None]
    modules = [one.module for one in readings]
    readings = [one for one in readings if modules.count(one.module) == 1]
    if not readings:
        raise LatentsError(f"{generator.spec.family} has no layers that are known to read styles, so no style space.")
    words = F.normalize(backbone.embed_texts([chosen.text, chosen.neutral or "a photo"]), dim=1)
    towards = F.normalize(words[0] - words[1], dim=0)
    drawn = generator.complete(generator.sample(max(search.n, 2), seed=search.seed, labels=search.labels))
    shown = drawn[: chosen.images]
    spreads, relevance = [], []
    for place, one in enumerate(readings):
        codes = drawn[part.name][:, one.layer].double().cpu() @ one.matrix.T
        spreads.append(codes.std(0))
        reach = chosen.deviations * spreads[-1]
        relevance.append(sum(_changes(generator, backbone, sample, one, reach) for sample in shown) @ towards)
        search.tell(place + 1, len(readings))
    most = max(float(one.abs().max()) for one in relevance)
    way = torch.zeros(part.shape, dtype=torch.float64)
    for layer in {one.layer for one in readings}:
        rows, wanted = [], []
        for one, spread, found in zip(readings, spreads, relevance):
            if one.layer == layer:
                alive = spread > 0
                kept = torch.where(found.abs() >= chosen.threshold * most, found / (most or 1.0), 0.0).double().cpu()
                rows.append(one.matrix[alive] / spread[alive, None])
                wanted.append(kept[alive])
        way[layer] = torch.linalg.lstsq(torch.cat(rows), torch.cat(wanted)[:, None], driver="gelsd").solution[:, 0]
    if not bool(way.any()):
        raise LatentsError(f"No channel of {generator.spec.family} changes what {backbone.name!r} takes for the text.")
    info = {"found": "by StyleCLIP (global)", "text": chosen.text}
    found = Direction(name, [part], {part.name: way}, space="w+", model=model_hash(generator), info=info)
    return found.measured(drawn)


def _changes(generator: Generator, backbone: TextImage, sample: Latents, one: Reading, reach: Tensor) -> Tensor:
    """How an image's embedding changes with each channel that a layer gives (channels, D), of unit length."""
    found = []
    for places in torch.arange(len(reach)).split(CHUNK):
        ends = []
        for sign in (1.0, -1.0):
            moved = torch.zeros(len(places), len(reach))
            moved[torch.arange(len(places)), places] = sign * reach[places].float()
            with _shifted(generator.get_submodule(one.module), moved.to(generator.device, generator.dtype)):
                images = generator.synthesize(sample.expand(len(places)))
            views = convert_range(images, generator.spec.value_range, (-1.0, 1.0))
            ends.append(F.normalize(_embedded(backbone, views), dim=1))
        found.append(F.normalize(ends[0] - ends[1], dim=1))
    return torch.cat(found)


@contextmanager
def _shifted(module: nn.Module, by: Tensor) -> Iterator[None]:
    """While it lasts, a module gives so much more; ``by`` is flat."""
    hook = module.register_forward_hook(lambda _, taken, made: made + by.reshape(made.shape))
    try:
        yield
    finally:
        hook.remove()


def _embedded(backbone: TextImage, images: Tensor) -> Tensor:
    return backbone.embed_images(backbone.fit(images))
