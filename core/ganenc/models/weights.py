"""Model folders: ``config.json`` and ``model.safetensors``, written and read into a module. Not in paper."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from ganenc_registry.errors import CheckpointError, GanencError, SpecError, UnknownNameError
from ganenc_registry.specs import EncoderSpec, GeneratorSpec
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganenc.encoders import Encoder
from ganenc.files import hash_tensors, load_tensors, save_tensors, write_json
from ganenc.generators import Generator, check_weights, fill, is_family, track_statistics, undrawn
from ganenc.models.resolving import CONFIG, FORMAT, WEIGHTS, has_config, read_config

M = TypeVar("M", bound=nn.Module)
_IMPORT_FIRST = (
    " What a script of yours registers is known once it is imported; on the command line: `ganenc --import SCRIPT`."
)


def model_hash(module: nn.Module) -> str:
    """The SHA-256 of a module's tensors, by name: the same for the same weights wherever they come from. Of a generator
    without any, of some pixels of a sample, rounded; while one is tuned, of its weights as they were."""
    state = {**module.state_dict(), **(module.untuned if isinstance(module, Generator) else {})}
    if not state and isinstance(module, Generator):
        state = {"pixels": _pixels(module)}
    return hash_tensors(state)


@torch.no_grad()
def _pixels(generator: Generator) -> Tensor:
    """Sixteen values of a sample's image, to a thousandth of their range: the same on every machine, almost surely."""
    low, high = generator.spec.value_range
    values = generator.synthesize(generator.sample(1)).flatten().double().cpu()
    return ((values[torch.linspace(0, len(values) - 1, 16).long()] - low) * 1000 / (high - low)).round().int()


def save_pretrained(
    module: Generator | Encoder, folder: str | Path, *, info: dict[str, Any] | None = None, half: bool = False
) -> None:
    """Write a generator or an encoder as a model folder: weights first, then the config, each atomically.

    ``info`` is plain data to keep in the config, such as where the weights come from; with ``half`` weights are stored
    in half precision, and load into single precision again, rounded. `CheckpointError` if there are no weights to be
    found, the folder holds another project's config, or a generator where this is an encoder (or the other way round),
    which would be lost, or a number is too large for half precision.
    """
    spec, folder = module.spec, Path(folder)
    kind = "encoder" if isinstance(spec, EncoderSpec) else "generator"
    if isinstance(spec, GeneratorSpec) and not is_family(spec.family):
        warnings.warn(
            f"No generator {spec.family!r} is registered, and none can be built from {folder} until one is; put"
            f" @ganenc.register('generator', {spec.family!r}) on its class.",
            stacklevel=3,
        )
    if os.path.isfile(folder / CONFIG) and not has_config(folder):
        raise CheckpointError(f"{folder} holds another project's {CONFIG}, which would be lost; name another folder.")
    if has_config(folder) and (held := read_config(folder).get("kind")) != kind:
        raise CheckpointError(f"{folder} holds a model of kind {held!r}, which would be lost; name another folder.")
    if not module.state_dict():
        raise CheckpointError(
            f"{type(module).__name__} keeps no weights that can be found, so {folder} would hold none; keep its tensors"
            " as attributes, set in __init__."
        )
    save_weights(module, folder, half=half, replace=has_config(folder))
    write_json(
        folder / CONFIG, {"format": FORMAT, "kind": kind, "spec": spec.to_mapping(), "info": info or {}}, replace=True
    )


def save_weights(module: nn.Module, folder: Path, *, half: bool = False, replace: bool = False) -> None:
    """Write the module's state as ``model.safetensors``; see `ganenc.files.atomic_path`."""
    tensors = module.state_dict()
    if half:
        tensors = {name: _halved(tensor, name) for name, tensor in tensors.items()}
    save_tensors(folder / WEIGHTS, tensors, {"format": "pt"}, replace=replace)


def load_weights(module: nn.Module, folder: Path) -> None:
    """Read ``model.safetensors`` into the module; half-precision files fill single-precision modules. `CheckpointError`
    if the file is missing or damaged, or a tensor is missing, superfluous, of another shape or not finite."""
    _take(module, _read_weights(folder), folder / WEIGHTS)


def build_with_weights(build: Callable[[], M], folder: Path) -> M:
    """Build a module from the spec in a folder, and fill it with the weights there; `SpecError` if it cannot be built,
    or is far larger than the weights; `CheckpointError` if the weights are not its own."""
    tensors = _read_weights(folder)
    try:
        module = undrawn(build, tensors)
    except (SpecError, UnknownNameError) as error:
        unknown = isinstance(error, UnknownNameError)
        raise type(error)(f"{folder / CONFIG}: {error}{_IMPORT_FIRST if unknown else ''}") from error
    except GanencError:
        raise
    except Exception as error:  # Families fail in their own ways where a config was changed by hand.
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise SpecError(
            f"{folder / CONFIG} describes a model that cannot be built ({reason}); fetch it again."
        ) from error
    _take(module, tensors, folder / WEIGHTS)
    return module


def _halved(tensor: Tensor, name: str) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    if half.isinf().any() and not tensor.isinf().any():
        raise CheckpointError(f"The tensor {name} holds numbers too large for half precision; save it in full.")
    return half


def _read_weights(folder: Path) -> dict[str, Tensor]:
    return load_tensors(folder / WEIGHTS, "weights", remedy="fetch or save the model again")[1]


def _take(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Fill a module, once it is sure that each tensor has its place; ``path`` is where they come from."""
    for name, norm in module.named_modules():  # Statistics that were gathered once it was built.
        if isinstance(norm, _BatchNorm) and norm.running_mean is None and f"{name}.running_mean" in tensors:
            track_statistics(norm)
    wanted = module.state_dict()
    for name, tensor in wanted.items():
        if name not in tensors:
            raise CheckpointError(f"The weights {path} lack the tensor {name}; save the model again.")
        if tensors[name].shape != tensor.shape:
            shapes = f"{tuple(tensors[name].shape)}, not {tuple(tensor.shape)}"
            raise CheckpointError(f"In {path} the tensor {name} is {shapes}; the config is of another model.")
    for name in tensors:
        if name not in wanted:
            raise CheckpointError(f"The weights {path} hold a tensor {name} that the model of their config has not.")
    # The file is mapped into memory, where others may change it: a model has its own copy.
    fill(module, {name: tensor.to(wanted[name].dtype, copy=True) for name, tensor in tensors.items()})
    check_weights(module, path)
