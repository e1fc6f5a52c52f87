"""Loads what a name stands for: a generator, or an encoder. Not in paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ganenc_registry import Kind, registry
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
    Hugging Face Hub, with ``:file`` for such a checkpoint there. A foreign file that is called like an installed model
    is named by its path, ``./name``.
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
    first two on the Hugging Face Hub (``user/name`` or ``user/name@revision``), or a file of the paper's authors, or
    that a registered network recognises.
    """
    check_device(device)
    found = resolve(source)
    if found.kind == "file":
        return _encoder(read_checkpoint(str(found.path))).to(device)
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
        return from_checkpoint(read_checkpoint(str(found.path))).to(device)
    encodes = found.kind == "run" or found.config.get("kind") == "encoder"
    return load_encoder(source, device=device) if encodes else load_generator(source, device=device)


@apart()
def from_checkpoint(checkpoint: Checkpoint) -> Generator | Encoder:
    """The frozen generator that a foreign file holds, or else its encoder; `GanencError` if no family or network
    recognises the file, or several do, or it is damaged."""
    encodes = _encodes(checkpoint) and not _claims(checkpoint, "generator")[0]
    return _encoder(checkpoint) if encodes else _claimed(checkpoint).freeze()


def holds_encoder(source: str | Path) -> bool:
    """Whether an encoder that is known lies in a foreign file, maybe beside a generator."""
    found = resolve(source)
    return found.kind == "file" and _encodes(read_checkpoint(str(found.path)))


def encoder_of(source: str | Path) -> str | Path | None:
    """What `load_encoder` takes for the encoder that lies with a model; None if there is none."""
    found = resolve(source)
    return source if holds_encoder(source) else found.encoder


def _encodes(checkpoint: Checkpoint) -> bool:
    return authors.recognises(checkpoint) or bool(_claims(checkpoint, "encoder")[0])


def _encoder(checkpoint: Checkpoint) -> Encoder:
    if authors.recognises(checkpoint):
        return authors.from_checkpoint(checkpoint)
    encoder: Encoder = _claimed(checkpoint, "encoder").eval()
    return encoder


def _claims(checkpoint: Checkpoint, kind: Kind) -> tuple[dict[str, Any], list[str]]:
    """The families, or networks of encoders, that a file is one of, and why others could not be asked."""
    claims: dict[str, Any] = {}
    silent: list[str] = []
    path, settings = checkpoint.settings
    if settings:  # Settled by who holds the file.
        if (settings["family"] in registry().names("encoder")) != (kind == "encoder"):
            return {}, []
        try:
            return {settings["family"]: registry().resolve(kind, settings["family"])}, []
        except UnknownNameError as error:
            raise UnknownNameError(f"In {path}: family: {error}") from None
    for name in registry().names(kind):
        try:
            family = registry().resolve(kind, name)
            claimed = hasattr(family, "recognises") and family.recognises(checkpoint)
        except PluginError:
            silent.append(f"{name} could not be imported")
        except Exception as error:  # A family that fails harms no other.
            silent.append(f"{name} failed with {type(error).__name__}: {error}")
        else:
            claims.update({name: family} if claimed else {})
    return claims, silent


def _claimed(checkpoint: Checkpoint, kind: Kind = "generator") -> Any:
    """Ask everyone whether the file is one of theirs, and let the one that claims it build what it holds."""
    claims, silent = _claims(checkpoint, kind)
    if len(claims) > 1:
        owners = " and ".join(f"{name} ({registry().owner(kind, name)})" for name in claims)
        raise GanencError(f"{checkpoint.path} is claimed by {owners}; uninstall one of them.")
    if not claims:
        raise _unclaimed(checkpoint, silent, kind)
    ((name, family),) = claims.items()
    if not hasattr(family, "from_checkpoint"):
        raise CheckpointError(f"{checkpoint.path}: {name} reads no files of others; correct its settings.")
    found = family.from_checkpoint(checkpoint)
    checkpoint.check_all_read()
    return found


def _unclaimed(checkpoint: Checkpoint, silent: list[str], kind: Kind) -> CheckpointError:
    known = ", ".join(registry().names(kind)) or "none"
    if kind == "encoder":
        return CheckpointError(
            f"{checkpoint.path} holds no encoder that is known: neither of the paper's authors, nor of an installed"
            f" network ({known}); give the file of an encoder, or train one with `ganenc pretrain`."
        )
    if _encodes(checkpoint):
        return CheckpointError(
            f"{checkpoint.path} holds an encoder, where a generator is needed: name the generator that it belongs to,"
            " and give this file as its encoder."
        )
    failed = f" ({'; '.join(silent)})" if silent else ""
    return CheckpointError(
        f"No installed family recognises {checkpoint.path}; installed are {known}{failed}. If it is another GAN,"
        " its plugin may be missing, or it needs a generator of your own: see `ganenc.register`."
    )
