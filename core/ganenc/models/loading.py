"""Models: folders with ``config.json`` and ``model.safetensors``, shipped or on the Hub; releases; foreign files."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganenc_registry import registry
from ganenc_registry.errors import CheckpointError, GanencError, PluginError, SpecError, nearest
from ganenc_registry.specs import EncoderSpec, GeneratorSpec, Release

from ganenc.files import check_device, read_json, write_json
from ganenc.generators import build_generator, made_by
from ganenc.models.hub import fetch_model, is_hub_id
from ganenc.models.releases import check_release, fetch_release, find_release, registered_model, release_folder
from ganenc.models.weights import CONFIG, build_with_weights, load_weights, save_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ganenc.encoders import Encoder
    from ganenc.foreign import Checkpoint
    from ganenc.generators import Generator

__all__ = [
    "ENCODER",
    "build_generator",
    "load_encoder",
    "load_generator",
    "load_model",
    "load_weights",
    "model_folder",
    "model_hash",
    "read_config",
    "save_pretrained",
    "save_weights",
]

FORMAT = "ganenc-model"
ENCODER = "encoder"
"""The folder, inside that of a generator, in which its encoder lies."""


def model_folder(source: str | Path) -> Path | None:
    """The model folder that ``source`` names, whether a path, a registered model, or an id ``user/name`` of the Hub.

    A path that exists comes before an id. A model on the Hub is fetched if it is not here; a release is not, and has a
    folder only if its files are here and are a model folder. Imports no torch.

    Returns:
        the folder; None for anything else that exists: foreign files, releases, and models that a script makes.

    Raises:
        GanencError: if there is nothing of that name, it cannot be fetched, or the folder's config is damaged.
    """
    path, name = Path(source), str(source)
    if _has_config(path):
        return path
    found = registered_model(name)
    if isinstance(found, Path):
        return found
    if found is not None and not isinstance(found, Release):
        return None
    if found is not None:
        folder = release_folder(name)
        return folder if _has_config(folder) else None
    if path.exists():
        return None
    if name in registry().names("generator"):
        raise CheckpointError(
            f"{name} is a family, not a model: name one of its models (`ganenc list model`), or make one and save it"
            " with `save_pretrained`, or register a function that makes it as a model."
        )
    if is_hub_id(name):
        folder = fetch_model(name)
        if _has_config(folder):
            return folder
        raise CheckpointError(
            f"{name} on the Hugging Face Hub is no model of ganenc; a model there is what `save_pretrained` writes."
        )
    raise CheckpointError(
        f"There is no model {name!r}{nearest(name, registry().names('model'))}: it is neither a file or folder here nor"
        " one of the installed models (see `ganenc list model`), nor does it read like an id of the Hugging Face Hub,"
        " user/name."
    )


def read_config(folder: str | Path) -> dict[str, Any]:
    """The ``config.json`` of a model folder: ``kind``, ``spec``, ``info``. Imports no torch.

    Raises:
        CheckpointError: if there is none, or it is no config of ours.
    """
    path = Path(folder) / CONFIG
    config = _read_json(path)
    if not _is_ours(config):
        raise CheckpointError(f"{path} is no config of ganenc; a model folder is what `save_pretrained` writes.")
    return dict(config)


def save_pretrained(
    module: Generator | Encoder, folder: str | Path, *, info: dict[str, Any] | None = None, half: bool = False
) -> None:
    """Write a model folder: weights first, then the config, each atomically.

    Args:
        module: a generator or an encoder.
        folder: where to; made if it is not there.
        info: plain data to keep in the config, such as where the weights come from.
        half: store weights in half precision; they load into single precision again, rounded.

    Raises:
        CheckpointError: if the folder holds another project's config, which would be lost, or a number is too large for
            half precision.
    """
    spec = module.spec
    kind = "encoder" if isinstance(spec, EncoderSpec) else "generator"
    if isinstance(spec, GeneratorSpec) and spec.family not in registry().names("generator"):
        warnings.warn(
            f"No generator {spec.family!r} is registered, and none can be built from {folder} until one is; put"
            f" @ganenc.register('generator', {spec.family!r}) on its class.",
            stacklevel=3,
        )
    folder = Path(folder)
    if (folder / CONFIG).is_file() and not _has_config(folder):
        raise CheckpointError(f"{folder} holds another project's {CONFIG}, which would be lost; name another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(module, folder, half=half)
    config = {"format": FORMAT, "kind": kind, "spec": spec.to_mapping(), "info": info or {}}
    write_json(folder / CONFIG, config)


def load_generator(source: str | Path, *, device: str = "cpu") -> Generator:
    """Load a generator, frozen.

    Args:
        source: the name of an installed model (``ganenc list model``), whose files are fetched on first use where it is
            a release; a model folder; any checkpoint that a family recognises; or a model on the Hugging Face Hub,
            ``user/name`` or ``user/name@revision``. What exists here comes before the Hub; a foreign file or folder
            that is called like an installed model is named by its path, ``./name``. Of a model that a script registered
            as a function, what the function makes.
        device: where the weights go.

    Raises:
        GanencError: if there is nothing of that name, it cannot be fetched, no family recognises the file, or several
            do.
    """
    check_device(device)
    folder, path = model_folder(source), Path(source)
    made = registered_model(str(source)) if folder is None else None
    if made is not None and not isinstance(made, Path | Release):
        return made_by(made, f"model {str(source)!r}").freeze().to(device)
    release = find_release(str(source)) if folder != path else None
    if release is not None:
        path = fetch_release(str(source), release)
        folder = model_folder(source)
    if folder is None:
        from ganenc.foreign import read_checkpoint

        generator = _from_checkpoint(read_checkpoint(path))
    else:
        config = _config_of(folder, "generator")
        spec = GeneratorSpec.from_mapping(config["spec"], where=str(folder / CONFIG))
        generator = build_with_weights(lambda: build_generator(spec), folder)
    if release is not None:
        check_release(str(source), release, generator.spec)
        if generator.spec.licence == "unknown":  # Foreign files say nothing of it.
            generator._spec = generator.spec.model_copy(update={"licence": release.generator.licence})
    return generator.freeze().to(device)


def load_encoder(source: str | Path, *, device: str = "cpu") -> Encoder:
    """Load an encoder, in eval mode.

    Args:
        source: the name of an installed model, the folder of an encoder or of a generator with one inside, either of
            these on the Hugging Face Hub (``user/name`` or ``user/name@revision``), or a file that the paper's authors
            published.
        device: where the weights go.

    Raises:
        GanencError: if there is none.
    """
    from ganenc.encoders import Encoder

    check_device(device)
    folder = model_folder(source)
    if folder is None:
        if registered_model(str(source)) is not None:
            raise _without_encoder(source)
        from ganenc.foreign import authors as published

        return published.load_encoder(source).to(device)
    if read_config(folder).get("kind") == "generator":
        folder = folder / ENCODER
        if not (folder / CONFIG).is_file():
            raise _without_encoder(source)
    config = _config_of(folder, "encoder")
    spec = EncoderSpec.from_mapping(config["spec"], where=str(folder / CONFIG))
    return build_with_weights(lambda: Encoder(spec), folder).eval().to(device)


def load_model(source: str | Path, *, device: str = "cpu") -> Generator | Encoder:
    """Load a generator or an encoder, whichever is there: see :func:`load_generator` and :func:`load_encoder`.

    Raises:
        GanencError: if there is neither.
    """
    folder = model_folder(source)
    if folder is not None:
        encodes = read_config(folder).get("kind") == "encoder"
        return load_encoder(folder, device=device) if encodes else load_generator(source, device=device)
    if registered_model(str(source)) is not None:
        return load_generator(source, device=device)
    from ganenc.foreign import authors as published
    from ganenc.foreign import read_checkpoint

    check_device(device)
    checkpoint = read_checkpoint(source)
    if published.recognises(checkpoint):
        return published.from_checkpoint(checkpoint).to(device)
    return _from_checkpoint(checkpoint).freeze().to(device)


def _without_encoder(source: str | Path) -> CheckpointError:
    return CheckpointError(f"{source} has no encoder yet; train one with `ganenc pretrain` and name its folder.")


def model_hash(module: nn.Module) -> str:
    """The SHA-256 of a module's tensors, by name: the same for the same weights wherever they come from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}:{tuple(tensor.shape)}:{tensor.dtype}".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    import torch

    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _config_of(folder: Path, kind: str) -> dict[str, Any]:
    config = read_config(folder)
    if config.get("kind") != kind:
        raise CheckpointError(f"{folder} holds a model of kind {config.get('kind')!r}; a {kind} is wanted here.")
    if not isinstance(config.get("spec"), dict):
        raise SpecError(f"{folder / CONFIG} has no spec; the model folder is damaged.")
    return config


def _read_json(path: Path) -> Any:
    try:
        return read_json(path, "the model folder is damaged: fetch or save the model again")
    except OSError as error:
        raise CheckpointError(
            f"{path.parent} is no model folder: {path.name} cannot be read: {error.strerror}."
        ) from None


def _has_config(folder: Path) -> bool:
    return (folder / CONFIG).is_file() and _is_ours(_read_json(folder / CONFIG))


def _is_ours(config: object) -> bool:
    """Whether a config is one of ours; other projects have a file of that name, too."""
    return isinstance(config, dict) and config.get("format") == FORMAT


def _from_checkpoint(checkpoint: Checkpoint) -> Generator:
    """Ask every family whether the file is one of its own, and let the one that claims it build the generator."""
    claims: dict[str, Any] = {}
    silent: list[str] = []
    for name in registry().names("generator"):
        try:
            family = registry().resolve("generator", name)
            claimed = hasattr(family, "recognises") and family.recognises(checkpoint)
        except PluginError:
            silent.append(f"{name} could not be imported")
            continue
        except Exception as error:  # A family that fails harms no other.
            silent.append(f"{name} failed with {type(error).__name__}: {error}")
            continue
        if claimed:
            claims[name] = family
    if len(claims) > 1:
        owners = " and ".join(f"{name} ({registry().owner('generator', name)})" for name in claims)
        raise GanencError(f"{checkpoint.path} is claimed by {owners}; uninstall one of them.")
    if not claims:
        from ganenc.foreign import authors as published

        if published.recognises(checkpoint):
            raise CheckpointError(
                f"{checkpoint.path} holds an encoder of the paper's authors, where a generator is needed: name the"
                " generator that it belongs to, and give this file as its encoder."
            )
        known = ", ".join(registry().names("generator")) or "none"
        failed = f" ({'; '.join(silent)})" if silent else ""
        raise CheckpointError(
            f"No installed family recognises {checkpoint.path}; installed are {known}{failed}. If it is another GAN,"
            " its plugin may be missing, or it needs a generator of your own: see `ganenc.register`."
        )
    (family,) = claims.values()
    generator: Generator = family.from_checkpoint(checkpoint)
    return generator
