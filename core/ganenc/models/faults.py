"""What is wrong with something that is contributed, found before it is used. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from ganenc_registry import Contribution, registry
from ganenc_registry.errors import CheckpointError, GanencError, PluginError, nearest
from ganenc_registry.sources import fault_of
from ganenc_registry.specs import EncoderSpec, GeneratorSpec, Release

from ganenc.models.loading import ENCODER, read_config
from ganenc.models.releases import registered_model
from ganenc.models.weights import CONFIG, WEIGHTS

__all__ = ["check_model", "find_fault"]


def find_fault(item: Contribution, *, resolve: bool = False) -> str:
    """What is wrong with a contribution, in a sentence; empty if nothing is seen.

    Its target is looked up in the source. A model is read besides: its folder, and the specs in it.

    Args:
        item: what is contributed, as the registry lists it.
        resolve: import the target, too, whatever that takes.
    """
    fault = fault_of(item.target)
    if fault:
        return f"The {item.kind} {item.name!r} cannot be imported from {item.target}: {fault}."
    try:
        if item.kind == "model":
            check_model(item.name)
        elif resolve:
            registry().resolve(item.kind, item.name)
    except GanencError as error:
        return str(error)
    return ""


def check_model(name: str) -> None:
    """Check that an installed model is whole: config, specs and weights are there, and its family is known.

    A release whose files have yet to be fetched has a spec alone; a model that a function makes is taken on trust.

    Raises:
        GanencError: saying what is wrong, and in which file.
    """
    found = registered_model(name)
    if found is None:
        raise PluginError(f"There is no model {name!r}; see `ganenc list model`.")
    if isinstance(found, Release):
        _check_family(name, found.generator)
    if not isinstance(found, Path):
        return
    _check_folder(found)
    config = read_config(found)
    if config.get("kind") == "encoder":
        EncoderSpec.from_mapping(config.get("spec", {}), where=str(found / CONFIG))
        return
    _check_family(name, GeneratorSpec.from_mapping(config.get("spec", {}), where=str(found / CONFIG)))
    inside = found / ENCODER
    if inside.is_dir():
        _check_folder(inside)
        EncoderSpec.from_mapping(read_config(inside).get("spec", {}), where=str(inside / CONFIG))


def _check_folder(folder: Path) -> None:
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise CheckpointError(f"The model folder {folder} has no {name}; install its plugin again.")


def _check_family(name: str, spec: GeneratorSpec) -> None:
    known = registry().names("generator")
    if spec.family not in known:
        raise PluginError(
            f"The model {name!r} is of the family {spec.family!r}{nearest(spec.family, known)}, which no installed"
            " plugin brings; install the one that does."
        )
