"""What is wrong with something that is contributed, found before it is used. Imports no torch."""

from __future__ import annotations

from ganenc_registry import Contribution, registry
from ganenc_registry.errors import CheckpointError, GanencError, PluginError, nearest
from ganenc_registry.sources import fault_of
from ganenc_registry.specs import GeneratorSpec

from ganenc.models.resolving import CONFIG, ENCODER, WEIGHTS, read_spec, registered


def find_fault(item: Contribution, *, resolve: bool = False) -> str:
    """What is wrong with a contribution, in a sentence; empty if nothing is seen. Its target is looked up in the
    source, and imported if that is asked (``resolve``). A model is read besides: its folder, and the specs in it."""
    fault = fault_of(item.target)
    if fault:
        return f"The {item.kind} {item.name!r} cannot be imported from {item.target}: {fault}."
    try:
        if item.kind == "model":
            check_whole(item.name)
        elif resolve:
            registry().resolve(item.kind, item.name)
    except GanencError as error:
        return str(error)
    return ""


def check_whole(name: str) -> None:
    """Check that an installed model is whole: config, specs and weights are there, and its family is known.

    A release whose files have yet to be fetched has a spec alone; a model that a function makes is taken on trust.
    `GanencError` that says what is wrong, and in which file.
    """
    found = registered(name)
    for folder, kind in ((found.path, ""), (found.path and found.path / ENCODER, "encoder")):
        if found.kind == "shipped" and folder is not None and (not kind or folder.is_dir()):
            for file in (CONFIG, WEIGHTS):
                if not (folder / file).is_file():
                    raise CheckpointError(f"The model folder {folder} has no {file}; install its plugin again.")
            read_spec(folder, kind)
    spec, known = found.spec, registry().names("generator")
    if isinstance(spec, GeneratorSpec) and spec.family not in known:
        raise PluginError(
            f"The model {name!r} is of the family {spec.family!r}{nearest(spec.family, known)}, which no installed"
            " plugin brings; install the one that does."
        )
