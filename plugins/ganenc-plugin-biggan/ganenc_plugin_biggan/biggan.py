"""BigGAN and BigGAN-deep (Brock et al., 2019, "Large Scale GAN Training for High Fidelity Natural Image Synthesis")."""

from __future__ import annotations

import torch
from einops import rearrange
from ganenc.foreign import Checkpoint
from ganenc.generators import Generator, NoiseChoice
from ganenc.latents import Latents
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import Condition, GeneratorSpec, Setting, Vector
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from typing_extensions import Self

from ganenc_plugin_biggan import ajbrock, formats
from ganenc_plugin_biggan.layers import BatchNorm, GenBlock, PlainBlock, Rows, SelfAttention, rows_at
from ganenc_plugin_biggan.specs import BigGANOptions, base_size

__all__ = ["BigGAN"]


class BigGAN(Generator):
    """The generator of a BigGAN-deep, or of a BigGAN.

    Latents: ``z`` (N, z_dim), the class embedding ``c`` (N, c_dim), or rows (N, classes) where labels have none, and
    ``truncation`` (N,), which picks the running statistics of the batch norms; left out, it is 1. There is no noise:
    the same latents always give the same pixels.

    To train one, build it from a spec and call ``train()``: the batch norms then use each batch's own statistics, and
    every row of their running statistics follows, so that eval mode is right at any moment. ``spectral_norm`` in the
    spec normalises the weights in use; it is part of the spec, so states can be saved, loaded, copied and averaged as
    those of any module. What is kept in the end is ``generator.gather_statistics().folded()``.
    """

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__(spec)
        self.options = options = BigGANOptions.from_mapping(spec.options, where="the options of a biggan")
        z_dim, c_dim = _lengths(spec, options)
        first, *conditions = (part.shape[1] for part in self._conditions(torch.empty(0, z_dim), torch.empty(0, c_dim)))
        width, self.base = options.channel_width, base_size(spec.size, options)
        inputs = options.blocks[0][1] * width
        self.embedding = nn.Linear(spec.classes, c_dim, bias=False) if options.embedding else None
        self.first = nn.Linear(first, inputs * self.base[0] * self.base[1])
        block = GenBlock if options.style == "deep" else PlainBlock
        self.blocks = nn.ModuleList(block(options, index, length) for index, length in enumerate(conditions))
        widths = [options.blocks[0][1], *(outputs for _, _, outputs in options.blocks)]
        for number, place in enumerate(options.attention):
            self.add_module(attention_name(number), SelfAttention(widths[place] * width))
        last = options.blocks[-1][2] * width
        self.norm = BatchNorm(last, 0, n_stats=options.n_stats, eps=options.eps)
        self.to_image = nn.Conv2d(last, spec.channels, 3, padding=1)
        self._draw()
        if options.spectral_norm:
            for module in self._normalised():
                parametrizations.spectral_norm(module)

    def embed(self, labels: Tensor) -> Tensor:
        """Labels, int64 (N,) or rows (N, classes) => the class embedding c (N, c_dim), or rows where there is none.

        Raises:
            LatentsError: if labels have another shape, or there is no such class.
        """
        rows = self.label_rows(labels)
        return rows if self.embedding is None else F.linear(rows, self.embedding.weight)

    def synthesize(self, latents: Latents, *, noise: NoiseChoice = "const") -> Tensor:
        """Latents => images (N, C, H, W) in [-1, 1]. There is no noise, so any choice of it gives the same."""
        first, *conditions = self._conditions(latents["z"].to(self.dtype), latents["c"].to(self.dtype))
        rows = None if self.training else self._rows(latents, first.shape[0])
        height, width = self.base
        x = rearrange(self.first(first), "n (h w c) -> n c h w", h=height, w=width)
        for place in range(len(conditions) + 1):
            if place in self.options.attention:
                x = self.get_submodule(attention_name(self.options.attention.index(place)))(x)
            if place < len(conditions):
                x = self.blocks[place](x, conditions[place], rows)
        return torch.tanh(self.to_image(F.relu(self.norm(x, first, rows))))

    @torch.no_grad()
    def gather_statistics(self, *, samples: int = 2048, batch: int = 64, seed: int = 0) -> Self:
        """Measure the batch norms' running statistics anew, for each row's truncation, and return this generator.

        Right after training, where the averaged copy of the weights has only been handed the statistics of others. Each
        row becomes the mean of those of its batches ("standing statistics", section 3.1 and appendix).

        Args:
            samples: how many samples each row is measured on.
            batch: how many at a time.
            seed: the stream that they are drawn from.
        """
        norms = [module for module in self.modules() if isinstance(module, BatchNorm)]
        training, momentum = self.training, norms[0].momentum
        self.eval()
        for norm in norms:
            norm.train()
        try:
            for row in range(self.options.n_stats):
                truncation = row / (self.options.n_stats - 1) if self.options.n_stats > 1 else 1.0
                for step in range(max(1, samples // batch)):
                    for norm in norms:
                        norm.gathers, norm.momentum = slice(row, row + 1), 1 / (step + 1)
                    drawn = self.sample(batch, seed=seed, first=step * batch, truncation=truncation)
                    self.synthesize(drawn)
        finally:
            for norm in norms:
                norm.gathers, norm.momentum = slice(None), momentum
            self.train(training)
        return self

    def folded(self) -> BigGAN:
        """A copy with plain weights: spectral normalisation is applied once for all, and its spec says so.

        It gives the same images, and is smaller and quicker: what to keep of a finished training.
        """
        options = self.options.model_copy(update={"spectral_norm": False})
        plain = type(self)(self.spec.model_copy(update={"options": options.to_mapping()}))
        training = self.training
        self.eval()  # Where reading a weight takes no step of power iteration.
        state = {}
        for name in plain.state_dict():
            module, _, leaf = name.rpartition(".")
            state[name] = getattr(self.get_submodule(module), leaf).detach()
        self.train(training)
        plain.load_state_dict(state)
        return plain.to(self.device, self.dtype).train(training)

    @classmethod
    def recognises(cls, checkpoint: Checkpoint) -> bool:
        """Whether it is a BigGAN-deep of pytorch-pretrained-BigGAN's, or either of BigGAN-PyTorch's."""
        return any(kind.recognises(checkpoint) for kind in (formats, ajbrock))

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """Build the generator that the weights, and in pytorch-pretrained-BigGAN's case ``config.json``, describe."""
        kind = ajbrock if ajbrock.recognises(checkpoint) else formats
        spec = kind.read_spec(checkpoint)
        with torch.device("meta"):
            wanted = cls(spec).state_dict()
        return cls.from_tensors(spec, kind.read_tensors(checkpoint, spec, wanted))

    def _conditions(self, z: Tensor, c: Tensor) -> list[Tensor]:
        """What the first layer takes, and what the norms of each block see, of z (N, z_dim) and c (N, c_dim)."""
        blocks = len(self.options.blocks)
        if self.options.conditioning == "class":
            return [z, *[c] * blocks]
        if self.options.conditioning == "whole":
            return [torch.cat([z, c], dim=1)] * (blocks + 1)
        first, *chunks = z.chunk(blocks + 1, dim=1)
        return [first, *(torch.cat([chunk, c], dim=1) for chunk in chunks)]

    def _draw(self) -> None:
        """First weights: orthogonal (section 3), without bias. Those of the conditional norms draw themselves."""
        layers: list[nn.Linear | nn.Conv2d] = [self.first] if self.embedding is None else [self.embedding, self.first]
        layers += [module for module in self.modules() if isinstance(module, nn.Conv2d)]
        for layer in layers:
            nn.init.orthogonal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def _rows(self, latents: Latents, n: int) -> Rows:
        """The running statistics that each of n samples is normalised by."""
        truncation = latents["truncation"] if "truncation" in latents else self.default("truncation")
        assert truncation is not None, "settings have a default"
        return rows_at(truncation.expand(n), self.options.n_stats)

    def _normalised(self) -> list[nn.Module]:
        """The layers that spectral normalisation acts on: all but embeddings of the class, as published."""
        rows = {self.embedding}
        if self.embedding is None:  # Then each norm embeds the class for itself.
            rows = {layer for norm in self.blocks.modules() if isinstance(norm, BatchNorm) for layer in norm.children()}
        layers = [module for module in self.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
        return [module for module in layers if module not in rows]


def attention_name(number: int) -> str:
    """What the part is called that is the self-attention of that number."""
    return f"attention_{number}" if number else "attention"


def _lengths(spec: GeneratorSpec, options: BigGANOptions) -> tuple[int, int]:
    """The lengths of z and c.

    Raises:
        SpecError: if the layout is another than z, c and truncation, z is not what the prior draws or cannot be cut
            into chunks, or there are no classes, or not as many as c is long where labels are not embedded.
    """
    parts = {part.name: part for part in spec.layout}
    z, c, truncation = parts.pop("z", None), parts.pop("c", None), parts.pop("truncation", None)
    if not (isinstance(z, Vector) and isinstance(c, Condition) and isinstance(truncation, Setting)) or parts:
        raise SpecError(
            "A biggan has a vector `z`, a condition `c` and a setting `truncation` alone; see biggan_spec()."
        )
    if spec.prior.dim != z.dim:
        raise SpecError(f"prior.dim: a biggan draws z itself, of length {z.dim}, not {spec.prior.dim}.")
    if not spec.classes:
        raise SpecError("classes: a biggan is conditional and needs at least one class; give their number.")
    if not options.embedding and c.dim != spec.classes:
        raise SpecError(
            f"A biggan without an embedding takes a row of {spec.classes} classes as c, not {c.dim} numbers."
        )
    if options.conditioning == "chunks" and z.dim % (len(options.blocks) + 1):
        raise SpecError(f"prior.dim: z of {z.dim} numbers cannot be cut into {len(options.blocks) + 1} equal chunks.")
    return z.dim, c.dim
