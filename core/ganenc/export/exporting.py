"""Networks as graphs of plain tensors, for programs without ganenc: ONNX files and ``torch.export`` files."""

from __future__ import annotations

import importlib.util
import io
import logging
import re
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import lazy_loader as lazy
import torch
from ganenc_registry.errors import ExportError, GanencError, SpecError, nearest
from torch import Tensor

from ganenc.encoders import Encoder
from ganenc.export.graphs import EncoderGraph, GeneratorGraph, Graph, MappingGraph, has_mapping
from ganenc.files import MARK, atomic_path, check_ours, marked_archive, write_json
from ganenc.generators import Generator
from ganenc.models import encoder_of, load_encoder, load_model, model_hash

onnxscript = lazy.load("onnxscript")

FORMATS = {"onnx": ".onnx", "torch": ".pt2"}
"""How a file of each format ends."""
WHAT = ("generator", "encoder", "mapping", "both", "all")
"""What can be exported of a model; the mapping takes draws of the prior to the generator's inputs."""
PARITY = 1e-3
"""The largest difference to the network in torch that is let through, as a part of the outputs' range."""

_TRACED = 2
"""The batch that a graph with a batch of any size is recorded with; one alone would be taken for a constant."""
_CHECKED = (1, 3)
"""The batches that such a graph is then checked with."""
_ONNX_BYTES = 2**31 - 2**20


def export(
    graph: Graph, folder: str | Path, *, format: str = "onnx", batch: int | None = None, opset: int | None = None
) -> dict[str, Any]:
    """Write a graph to a file, check what the file gives, and write what is to be known of it as JSON beside it.

    The files are ``generator.onnx`` or the like and ``generator.onnx.json``, written atomically, and only if the file
    gives what the network gives in torch: ONNX files run in onnxruntime, on the CPU. Returned are the facts, as the
    JSON file has them: inputs, outputs, hash of the model, opset, measured parity.

    ``format`` is ``onnx``, or ``torch`` for a file of `torch.export`; ``batch`` how many samples the graph takes at a
    time, by default any; ``opset`` the version of ONNX's operators, by default the exporter's own (`SpecError` for a
    wrong choice). `ExportError` if the network cannot be exported, what exporting needs is not installed, or what the
    file gives differs by more than `PARITY` of the outputs' range.
    """
    check_export(format, batch, opset)
    path = Path(folder) / f"{graph.name}{FORMATS[format]}"
    check_ours(path, path.with_name(f"{path.name}.json"))
    with torch.no_grad(), _quiet():
        program = _record(graph, batch)
        with atomic_path(path) as temporary:
            written = _write_onnx(program, graph, temporary, batch, opset) if format == "onnx" else {}
            if format == "torch":
                torch.export.save(program, content := io.BytesIO())
                temporary.write_bytes(marked_archive(content))
            run = _onnx_runner(graph, temporary) if format == "onnx" else _torch_runner(temporary)
            parity = _parity(graph, run, _CHECKED if batch is None else (batch,), path)
    facts = {"graph": graph.name, "file": path.name, "format": format, **_described(graph, batch), **written}
    facts |= {"torch": torch.__version__, "parity": parity}
    write_json(path.with_name(f"{path.name}.json"), facts)
    return facts


def graphs_of(
    model: str | Path, what: str | None = None, *, encoder: str | Path | None = None, noise: str = "const"
) -> Iterator[Graph]:
    """The graphs of a model, loaded one by one: ``what``, one of `WHAT`, by default the generator and any encoder.

    ``model`` and ``encoder`` are whatever `ganenc.models.load_model` and `load_encoder` take (by default the model's
    own encoder), ``noise`` is of `GeneratorGraph`. `GanencError` if something is not there.
    """
    if what is not None and what not in WHAT:
        raise SpecError(f"There is no {what!r} to export{nearest(what, WHAT)}; it is one of {', '.join(WHAT)}.")
    found = load_model(model)
    if isinstance(found, Encoder):
        if what not in (None, "encoder"):
            raise SpecError(f"{model} is an encoder alone; name a generator, or take `--what encoder`.")
        yield EncoderGraph(found)
        return
    place = encoder or encoder_of(model)
    if what in (None, "generator", "both", "all"):
        yield GeneratorGraph(found, noise=noise)
    if what == "mapping" or (what == "all" and has_mapping(found.spec)):
        yield MappingGraph(found)
    if what in ("encoder", "both", "all") or (what is None and place is not None):
        if place is None:
            raise ExportError(f"{model} has no encoder to export; name one (`--encoder`), or take `--what generator`.")
        yield EncoderGraph(load_encoder(place))


def check_export(format: str, batch: int | None = None, opset: int | None = None) -> None:
    """Check the choices of an export, and that what it takes is installed, before anything is loaded: `SpecError` for a
    wrong format, batch or opset, `ExportError` if a package is missing or torch is too old."""
    if format not in FORMATS:
        raise SpecError(f"format: it is {' or '.join(FORMATS)}, not {format!r}{nearest(format, FORMATS)}.")
    if batch is not None and batch < 1:
        raise SpecError(f"batch: a graph takes 1 sample or more at a time, not {batch}.")
    if opset is not None and format != "onnx":
        raise SpecError("opset: only ONNX files have one; leave it out, or take the format onnx.")
    needs = ["onnx", "onnxscript", "onnxruntime"] if format == "onnx" else []
    missing = [name for name in needs if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(f'Exporting to ONNX takes {", ".join(missing)}: run `pip install "ganenc[export]"`.')
    version = torch.__version__
    if tuple(int(number) for number in re.findall(r"\d+", version)[:2]) < (2, 6):
        raise ExportError(f"Exporting takes torch 2.6 or newer, and {version} is installed: `pip install -U torch`.")


def _described(graph: Graph, batch: int | None) -> dict[str, Any]:
    """What is to be known of a graph, whatever it is written as."""
    return {
        "family": graph.network.spec.family if isinstance(graph.network, Generator) else None,
        "model_hash": model_hash(graph.network),
        "batch": "any" if batch is None else batch,
        "inputs": [port.facts(batch) for port in graph.inputs],
        "outputs": [port.facts(batch) for port in graph.outputs],
        **graph.facts(),
    }


def _record(graph: Graph, batch: int | None) -> torch.export.ExportedProgram:
    """The graph as torch records it."""
    example = graph.draw(_TRACED if batch is None else batch)
    shapes = None
    if batch is None:
        size = torch.export.Dim("batch")
        shapes = (tuple({0: size} for _ in example),)
    try:
        return torch.export.export(graph, example, dynamic_shapes=shapes, strict=False)
    except GanencError:
        raise
    except Exception as error:
        raise ExportError(f"This {graph.name} cannot be exported: {_reason(error)}.") from error


def _write_onnx(
    program: torch.export.ExportedProgram, graph: Graph, path: Path, batch: int | None, opset: int | None
) -> dict[str, Any]:
    """Write the recorded graph as ONNX; returns its opset."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in graph.state_dict().values())
    if size > _ONNX_BYTES:
        raise ExportError(
            f"This {graph.name} has {size / 2**30:.1f} GiB of weights, and one ONNX file holds at most 2; take the"
            " format torch."
        )
    try:
        made = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            optimize=False,  # Its rules take 1e-8 for 0, which makes NaN of flat images.
            input_names=[port.name for port in graph.inputs],
            output_names=[port.name for port in graph.outputs],
            dynamic_shapes=[{0: "batch"} for _ in graph.inputs] if batch is None else None,
            opset_version=opset,
        )
        assert made is not None, "the exporter gives a program"
        onnxscript.optimizer.fold_constants(made.model)
        onnxscript.optimizer.remove_unused_nodes(made.model)
        found = int(made.model.opset_imports[""])
        for node in made.model.graph.all_nodes():
            node.metadata_props.clear()  # Paths and source lines of whoever exports.
        made.model.doc_string = MARK
        made.save(path, external_data=False)
    except OSError:
        raise
    except Exception as error:
        raise ExportError(f"This {graph.name} cannot be exported to ONNX: {_reason(error)}.") from error
    if opset not in (None, found):
        raise ExportError(f"This {graph.name} cannot be written with opset {opset}, only with {found}; leave it out.")
    return {"opset": found}


Runner: TypeAlias = Callable[[Sequence[Tensor]], Sequence[Tensor]]


def _onnx_runner(graph: Graph, path: Path) -> Runner:
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ExportError(f"onnxruntime cannot load the exported {graph.name}: {_first_line(error)}.") from error
    names = [port.name for port in graph.inputs]

    def run(tensors: Sequence[Tensor]) -> list[Tensor]:
        given = {name: tensor.cpu().numpy() for name, tensor in zip(names, tensors, strict=True)}
        return [torch.from_numpy(array) for array in session.run(None, given)]

    return run


def _torch_runner(path: Path) -> Runner:
    module = torch.export.load(path).module()
    return lambda tensors: module(*tensors)


def _parity(graph: Graph, run: Runner, batches: Sequence[int], path: Path) -> dict[str, Any]:
    """How far a file's outputs are from the network's at most, by name; ExportError beyond `PARITY` of their range."""
    largest = {port.name: {"difference": 0.0, "of_range": 0.0} for port in graph.outputs}
    for n in batches:
        given = graph.draw(n)
        try:
            found = run(given)
        except Exception as error:
            raise ExportError(f"The exported {graph.name} fails on {n} samples: {_first_line(error)}.") from error
        for port, ours, theirs in zip(graph.outputs, graph(*given), found, strict=True):
            difference = float((ours.cpu() - theirs.cpu()).abs().max())
            low, high = port.about.get("value_range", (float(ours.min()), float(ours.max())))
            share = difference / max(high - low, 1e-12)
            if not share <= PARITY:
                raise ExportError(
                    f"{path} is not written: its {port.name} of {n} samples differ from the {graph.name}'s by up to"
                    f" {difference:.2g}, {share:.2g} of their range; at most {PARITY:g} is let through."
                )
            kept = largest[port.name]
            kept["difference"], kept["of_range"] = max(kept["difference"], difference), max(kept["of_range"], share)
    return {"batches": list(batches), "allowed_of_range": PARITY, "outputs": largest}


def _reason(error: BaseException) -> str:
    """Why a network cannot be exported, in words, from what the exporter says."""
    chain = [error]
    while (below := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(below)
    for one in chain:
        text = str(one)
        if missing := re.search(r"No ONNX function found for <OpOverload\(op='([^']+)'", text):
            return f"ONNX has nothing for its operator {missing[1]}; take the format torch"
        if "specialized it to be a constant" in text:
            return "its code counts on a fixed number of samples; choose one (`--batch 1`)"
        if "Unsupported attribute type" in text:
            return "ONNX fixes the groups of convolutions, and here each sample is one; choose how many (`--batch 1`)"
        if "data-dependent" in text:
            return f"what it does hangs on values that it computes, which no graph can follow{_place(error)}"
    return f"{_first_line(chain[-1])}{_place(chain[-1])}"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}".rstrip(" .:")


def _place(error: BaseException) -> str:
    """Where in the network's own code it went wrong, if anywhere."""
    ours, torchs = Path(__file__), Path(torch.__file__).parent
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path != ours and torchs not in path.parents and path.is_file():
            return f" ({path.name}, line {frame.lineno})"
    return ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' own remarks; what concerns a user becomes an error."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
