"""Loads what a name stands for: a generator, or an encoder. Not in paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ganenc_registry import registry
from ganenc_registry.errors import CheckpointError, GanencError, PluginError, UnknownNameError

from ganenc.encoders import Encoder
from ganenc.files import check_device
from ganenc.foreign import Checkpoint, authors, read_checkpoint
from ganenc.generators import Generator, apart, build_generator, check_weights, made_by
from ganenc.models.releases import check_release, clear_release, fetch_release, release_folder
from ganenc.models.resolving import read_spec, resolve
from ganenc.models.weights import build_with_weights, save_pretrained


@apart()
def load_generator(source: str | Path, *, device: str = "cpu") -> Generator:
    """Load a generator, frozen; `GanencError` if there is none, it cannot be fetched, or not just one family claims it.

    ``source`` is an installed model (``ganenc list model``), whose files are fetched on first use where it is a
    release; a model folder; any checkpoint that a family recognises; ``user/name`` or ``user/name@revision`` on the
    Hugging Face Hub. A foreign file that is called like an installed model is named by its path, ``./name``.
    """
    check_device(device)
    found = resolve(source)
    if found.kind == "run":
        raise CheckpointError(f"{source} is the folder of a run, which holds an encoder; name a generator.")
    if found.make is not None:
        generator = made_by(found.make, f"model {found.name!r}").freeze()
        check_weights(generator, f"the model {found.name!r}")
        return generator.to(device)
    if found.release is not None and not (found.release.convert and found.folder):
        fetch_release(found.name, found.release)
    folder = found.folder
    if folder is None:
        generator = _claimed(read_checkpoint(str(found.path)))
    else:
        spec = read_spec(folder, "generator")
        generator = build_with_weights(lambda: build_generator(spec), folder)
    if found.release is not None:
        check_release(found.name, found.release, generator.spec)
        if generator.spec.licence == "unknown":  # Foreign files say nothing of it.
            generator.spec = generator.spec.model_copy(update={"licence": found.release.generator.licence})
        if folder is None and found.release.convert:
            folder = release_folder(found.name)
            save_pretrained(generator, folder, info={"source": found.release.page, **found.release.info})
            clear_release(found.name, found.release)
    return generator.freeze().to(device)


@apart()
def load_encoder(source: str | Path, *, device: str = "cpu") -> Encoder:
    """Load an encoder, in eval mode; `GanencError` if there is none.

    ``source`` is what has one: an installed model, the folder of an encoder, of a generator or of a run, one of the
    first two on the Hugging Face Hub (``user/name`` or ``user/name@revision``), or a file of the paper's authors.
    """
    check_device(device)
    found = resolve(source)
    if found.kind == "file":
        return authors.from_checkpoint(read_checkpoint(source)).to(device)
    folder = found.encoder
    if folder is None:
        raise CheckpointError(f"{source} has no encoder yet; train one with `ganenc pretrain` and name its folder.")
    spec = read_spec(folder, "encoder")
    return build_with_weights(lambda: Encoder(spec), folder).eval().to(device)


def load_model(source: str | Path, *, device: str = "cpu") -> Generator | Encoder:
    """Load what is there, as `load_generator` or `load_encoder` does; else a `GanencError`."""
    found = resolve(source)
    if found.kind == "file":
        check_device(device)
        return from_checkpoint(read_checkpoint(source)).to(device)
    encodes = found.kind == "run" or found.config.get("kind") == "encoder"
    return load_encoder(source, device=device) if encodes else load_generator(source, device=device)


@apart()
def from_checkpoint(checkpoint: Checkpoint) -> Generator | Encoder:
    """The frozen generator, or the encoder of the paper's authors, that a foreign file holds; `GanencError` if no
    family recognises the file, or several do, or it is damaged."""
    if authors.recognises(checkpoint):
        return authors.from_checkpoint(checkpoint)
    return _claimed(checkpoint).freeze()


def _claimed(checkpoint: Checkpoint) -> Generator:
    """Ask every family whether the file is one of its own, and let the one that claims it build the generator."""
    claims: dict[str, Any] = {}
    silent: list[str] = []
    path, settings = checkpoint.settings
    if settings:  # Settled by who holds the file.
        try:
            claims[settings["family"]] = registry().resolve("generator", settings["family"])
        except UnknownNameError as error:
            raise UnknownNameError(f"In {path}: family: {error}") from None
    for name in () if settings else registry().names("generator"):
        try:
            family = registry().resolve("generator", name)
            claimed = hasattr(family, "recognises") and family.recognises(checkpoint)
        except PluginError:
            silent.append(f"{name} could not be imported")
        except Exception as error:  # A family that fails harms no other.
            silent.append(f"{name} failed with {type(error).__name__}: {error}")
        else:
            claims.update({name: family} if claimed else {})
    if len(claims) > 1:
        owners = " and ".join(f"{name} ({registry().owner('generator', name)})" for name in claims)
        raise GanencError(f"{checkpoint.path} is claimed by {owners}; uninstall one of them.")
    if not claims:
        raise _unclaimed(checkpoint, silent)
    (family,) = claims.values()
    generator: Generator = family.from_checkpoint(checkpoint)
    checkpoint.check_all_read()
    return generator


def _unclaimed(checkpoint: Checkpoint, silent: list[str]) -> CheckpointError:
    if authors.recognises(checkpoint):
        return CheckpointError(
            f"{checkpoint.path} holds an encoder of the paper's authors, where a generator is needed: name the"
            " generator that it belongs to, and give this file as its encoder."
        )
    known = ", ".join(registry().names("generator")) or "none"
    failed = f" ({'; '.join(silent)})" if silent else ""
    return CheckpointError(
        f"No installed family recognises {checkpoint.path}; installed are {known}{failed}. If it is another GAN,"
        " its plugin may be missing, or it needs a generator of your own: see `ganenc.register`."
    )
