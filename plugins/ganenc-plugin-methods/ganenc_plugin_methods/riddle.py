"""RiDDLE (Li et al., 2023): latents encrypted and decrypted by a network that sees a password. This is no cryptography:
it hides from people what an image shows, and whoever studies the network may undo it without the password."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from einops import rearrange
from ganenc.files import write_json
from ganenc.foreign import Checkpoint, read_checkpoint
from ganenc.generators import Generator, fill, undrawn
from ganenc.latents import Latents, main_part
from ganenc.models import build_with_weights, has_config, model_hash, read_config, save_weights
from ganenc_registry.errors import CheckpointError, LatentsError, SpecError
from ganenc_registry.specs import Condition, Layout, Map, Setting, Spec, Styles, Vector
from ganenc_registry.specs.sizes import Count, Width
from pydantic import Field
from torch import Tensor, nn

from ganenc_plugin_methods.reading import count, shape_of

__all__ = ["Encryptor", "EncryptorNetwork", "EncryptorSpec", "LockOptions"]

CONFIG, KIND = "config.json", "encryptor"
MAPPER = "mapper_state_dict."


class LockOptions(Spec):
    """How the network is built."""

    shares: tuple[Width, ...] = Field(
        (4, 4, 6), min_length=1, max_length=64, description="how the layers of styles are shared out to transformers"
    )
    heads: Count = Field(4, description="heads of attention, at most; as many as divide the width")
    hidden: Width = Field(2, description="width of the feed-forward layers, in widths of what comes in")
    norm: Literal["before", "after"] = Field(
        "before", description="where layers are normalised; RiDDLE does it after each, which forgets lengths"
    )


class EncryptorSpec(LockOptions):
    """An encryptor: what it encrypts, by which passwords."""

    layout: Layout = Field(description="the parts that it encrypts")
    password: Width = Field(description="length of a password's row")


class Lock(nn.Module):
    """Rows (N, rows, dim) and passwords (N, password) => rows again: each group of rows by a transformer decoder's
    layer of its own, which attends to the password."""

    def __init__(self, spec: EncryptorSpec, rows: int, dim: int, shares: tuple[int, ...]) -> None:
        super().__init__()
        ends = [round(rows * sum(shares[:index]) / sum(shares)) for index in range(len(shares) + 1)]
        self.sizes = [b - a for a, b in itertools.pairwise(ends) if b > a]
        heads = max(number for number in range(1, spec.heads + 1) if dim % number == 0)
        after = spec.norm == "after"
        self.rows = nn.Linear(dim, dim)
        self.password = nn.Linear(spec.password, dim)
        self.position = nn.Parameter(torch.randn(rows, dim) * (1.0 if after else 0.02))
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(dim, heads, spec.hidden * dim, 0.0, batch_first=True, norm_first=not after)
            for _ in self.sizes
        )
        with torch.no_grad():  # What is taken away from a password comes back when it is again.
            self.rows.weight.copy_(torch.eye(dim) * (1.0 if after else -1.0))
            self.rows.bias.zero_()

    def forward(self, rows: Tensor, passwords: Tensor) -> Tensor:
        groups = (self.rows(rows) + self.position).split(self.sizes, 1)
        seen = self.password(passwords)[:, None]
        return torch.cat([layer(x, seen.expand(-1, x.shape[1], -1)) for layer, x in zip(self.layers, groups)], 1)


class EncryptorNetwork(nn.Module):
    """Latents and passwords => latents, encrypted; these and the same passwords => latents like the first."""

    def __init__(self, spec: EncryptorSpec) -> None:
        super().__init__()
        self.spec = spec
        self.locks = nn.ModuleDict()
        for part in spec.layout:
            if not isinstance(part, Styles | Vector | Condition | Map):
                raise SpecError(f"layout: {part.name!r} is {part.kind}; styles, vectors, conditions and maps alone.")
            rows, dim = _rows(torch.zeros((1, *part.shape), device="meta")).shape[1:]
            self.locks[part.name] = Lock(spec, rows, dim, spec.shares if isinstance(part, Styles) else (1,))
            self.register_buffer(f"center_{part.name}", torch.zeros(part.shape))
            self.register_buffer(f"scale_{part.name}", torch.ones(part.shape))
        self.register_buffer("password_center", torch.zeros(spec.password))
        self.register_buffer("password_scale", torch.ones(spec.password))

    @torch.no_grad()
    def measure(self, latents: Latents, passwords: Tensor) -> None:
        """Take means and deviations from samples of the latents that are to be encrypted, and of passwords."""
        for name in self.locks:
            _measure(latents[name], self.get_buffer(f"center_{name}"), self.get_buffer(f"scale_{name}"))
        _measure(passwords, self.get_buffer("password_center"), self.get_buffer("password_scale"))

    def forward(self, latents: Mapping[str, Tensor], passwords: Tensor) -> dict[str, Tensor]:
        """The parts of latents in deviations, as `deviations` gives them, and passwords (N, password), as they are."""
        passwords = (passwords - self.password_center) / self.password_scale
        out = {}
        for name, lock in self.locks.items():
            rows = lock(_rows(latents[name]), passwords)
            shape = latents[name].shape
            out[name] = rows.transpose(1, 2).reshape(shape) if len(shape) == 4 else rows.reshape(shape)
        return out

    def deviations(self, latents: Latents) -> dict[str, Tensor]:
        """Latents => their parts around the means, in deviations."""
        return {
            name: (latents[name] - self.get_buffer(f"center_{name}")) / self.get_buffer(f"scale_{name}")
            for name in self.locks
        }

    def values(self, deviations: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Back from deviations."""
        return {
            name: one * self.get_buffer(f"scale_{name}") + self.get_buffer(f"center_{name}")
            for name, one in deviations.items()
        }


class Encryptor:
    """Encrypts latents of a generator by a password, and decrypts them again: a network, and the generator, whose own
    latents passwords are drawn from. It is no cryptography; see this module."""

    def __init__(self, network: EncryptorNetwork, generator: Generator) -> None:
        self.network, self.generator = network.to(generator.device, generator.dtype).eval(), generator
        own = {part.name: part for part in generator.spec.layout}
        for part in network.spec.layout:
            if getattr(own.get(part.name), "shape", None) != part.shape:
                raise SpecError(f"This encryptor is for another generator: the part {part.name!r} does not fit.")
        if row_of(generator.sample(1)).shape[1] != network.spec.password:
            raise SpecError("This encryptor is for another generator: its passwords have another length.")

    @classmethod
    def load(cls, source: str | Path, generator: Generator) -> Encryptor:
        """From a folder that `save` or a run wrote, or a published file of RiDDLE; `GanencError` if it is damaged, or
        of another generator."""
        folder = Path(source)
        folder = folder / KIND if has_config(folder / KIND) else folder
        if not has_config(folder):
            return cls(_published(read_checkpoint(source), generator), generator)
        config = read_config(folder)
        if config.get("kind") != KIND or not isinstance(config.get("spec"), dict):
            raise CheckpointError(f"{folder} holds no encryptor; the recipe 'riddle' trains one.")
        if config.get("model") != model_hash(generator):
            raise CheckpointError(f"{folder} was trained on another generator than this; give that one.")
        spec = EncryptorSpec.from_mapping(config["spec"], where=str(folder / CONFIG))
        return cls(build_with_weights(lambda: EncryptorNetwork(spec), folder), generator)

    def save(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors``; `CheckpointError` if another model lies there."""
        folder = Path(folder)
        if has_config(folder) and read_config(folder).get("kind") != KIND:
            raise CheckpointError(f"{folder} holds another model, which would be lost; name another folder.")
        save_weights(self.network, folder, replace=has_config(folder))
        config = {"spec": self.network.spec.to_mapping(), "model": model_hash(self.generator)}
        write_json(folder / CONFIG, {"format": "ganenc-model", "kind": KIND, **config}, replace=True)

    def encrypt(self, latents: Latents, password: str) -> Latents:
        """Latents that make another image, in which only the same password finds the first again. What the network does
        not encrypt but settings, such as noise, is left out; the generator's own takes its place."""
        return self._apply(latents, password)

    def decrypt(self, latents: Latents, password: str) -> Latents:
        """What `encrypt` made => latents like those before; with another password, of some other image."""
        return self._apply(latents, password)

    @torch.no_grad()
    def _apply(self, latents: Latents, password: str) -> Latents:
        generator, network = self.generator, self.network
        if not password:
            raise LatentsError("The password is empty; give a text.")
        if "tuning" in latents.info:
            raise LatentsError("These latents go with tuned weights, which are not encrypted; invert --for rebuild.")
        latents = generator.complete(latents.to(generator.device, generator.dtype))
        row = row_of(generator.sample(1, seed=seed_of(password))).expand(len(latents), -1)
        done = network.values(network(network.deviations(latents), row))
        settings = [part.name for part in latents.layout if isinstance(part, Setting) and part.name in latents]
        return latents.only(*settings).replace(**done)


def seed_of(password: str) -> int:
    """A password => the seed of the draw that stands for it."""
    return int.from_bytes(hashlib.sha256(password.encode("utf-8", "surrogateescape")).digest()[:8], "big") >> 1


def row_of(latents: Latents) -> Tensor:
    """Draws of a generator's => the row of each that stands for a password, (N, dim)."""
    part = main_part(latents.layout)
    return latents[part.name][:, 0] if isinstance(part, Styles) else latents[part.name]


def _rows(part: Tensor) -> Tensor:
    """The values of a part => (N, rows, dim): a map has a row for each place."""
    return rearrange(part, "n c h w -> n (h w) c") if part.ndim == 4 else part if part.ndim == 3 else part[:, None]


def _measure(values: Tensor, center: Tensor, scale: Tensor) -> None:
    """Mean and deviation of each number; no deviation is below a tenth of all together, nor zero."""
    center.copy_(values.mean(0))
    deviations = values.std(0)
    typical = deviations.square().mean().sqrt()
    scale.copy_(deviations + (0.1 * typical if typical else 1.0))


def _published(checkpoint: Checkpoint, generator: Generator) -> EncryptorNetwork:
    """The network in a file of RiDDLE's; `CheckpointError` if it is none, or is damaged."""
    layers = count(checkpoint, f"{MAPPER}layers.")
    if not layers or f"{MAPPER}layers.0.multihead_attn.in_proj_weight" not in checkpoint.tensors:
        checkpoint.fail("it holds no encryptor that is known", "the recipe 'riddle' trains one")
    part = main_part(generator.spec.layout)
    if not isinstance(part, Styles):
        checkpoint.fail("it encrypts styles, and this generator has none", "give another generator")
    hidden, dim = shape_of(checkpoint, f"{MAPPER}layers.0.linear1.weight", 2)
    shares = checkpoint.meta("opts.transformer_split_list") or [4, 4, 6]
    if not isinstance(shares, list) or len(shares) != layers or hidden % dim:
        checkpoint.fail(f"its {layers} layers and widths do not fit its opts.transformer_split_list")
    fields = {
        "layout": [part.model_dump()], "password": dim, "shares": shares, "norm": "after", "hidden": hidden // dim,
    }  # fmt: skip
    try:
        spec = EncryptorSpec.from_mapping(fields)
        with torch.device("meta"):
            shapes = EncryptorNetwork(spec).state_dict()
    except SpecError as error:
        checkpoint.fail(f"its parts do not fit together ({str(error).rstrip('.')})")
    before, state = f"locks.{part.name}.", {}
    names = {"rows": "linear_ori", "password": "linear_pwd"}
    for name, like in shapes.items():
        inner = name.removeprefix(before)
        head, _, rest = inner.partition(".")
        if inner == name:
            state[name] = torch.ones(like.shape) if "scale" in name else torch.zeros(like.shape)
        elif inner == "position":
            state[name] = _optional(
                checkpoint, "pos_embedding", (like.shape[0], 1, dim), torch.zeros(like.shape)
            ).reshape(like.shape)
        elif head in names:
            own = torch.eye(dim) if rest == "weight" else torch.zeros(dim)
            state[name] = _optional(checkpoint, f"{names[head]}.{rest}", tuple(like.shape), own)
        else:
            state[name] = checkpoint.tensor(f"{MAPPER}{inner}", tuple(like.shape))
    checkpoint.check_all_read()
    network = undrawn(lambda: EncryptorNetwork(spec), state)
    fill(network, state)
    return network


def _optional(checkpoint: Checkpoint, name: str, shape: tuple[int, ...], own: Tensor) -> Tensor:
    """A tensor that a file may do without."""
    return checkpoint.tensor(MAPPER + name, shape) if MAPPER + name in checkpoint.tensors else own
