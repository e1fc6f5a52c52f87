"""Exported files, run by themselves, against the networks that they came from."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ganenc import save_pretrained
from ganenc.cli import main
from ganenc.encoders import Encoder, conv_doubled
from ganenc.export import EncoderGraph, GeneratorGraph, MappingGraph, exporting
from ganenc.files import MARK
from ganenc.generators import Generator
from ganenc.latents import Latents
from ganenc.models import load_encoder, load_generator, model_hash
from ganenc_registry.errors import ExportError, SpecError, WriteError
from ganenc_registry.specs import GeneratorSpec, Prior, Vector
from torch import Tensor, nn
from torch.nn import functional as F
from toys import ToyColours, ToyConditional, ToyGenerator, small_encoder, toy_spec

export = exporting.export


def onnx_run(path: Path, **tensors: Tensor) -> dict[str, np.ndarray]:
    """What the file gives, by name."""
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert {port.name for port in session.get_inputs()} == set(tensors)
    names = [port.name for port in session.get_outputs()]
    found = session.run(names, {name: tensor.numpy() for name, tensor in tensors.items()})
    return dict(zip(names, found, strict=True))


def torch_run(path: Path, *tensors: Tensor) -> tuple[Tensor, ...]:
    return torch.export.load(path).module()(*tensors)


class Plain(Generator):
    """A generator of 4x4 images whose one step is ``paint``."""

    def __init__(self, spec: GeneratorSpec | None = None) -> None:
        layout = (Vector(dim=16),)
        super().__init__(spec or GeneratorSpec(family="plain", size=(4, 4), prior=Prior(dim=16), layout=layout))
        self.scale = nn.Parameter(torch.tensor(0.5))

    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        return self.paint(latents["z"].unflatten(1, (1, 4, 4)) * self.scale).expand(-1, 3, -1, -1)

    def paint(self, x: Tensor) -> Tensor:
        return x


class Normed(Plain):
    """The three ways in which networks write that they divide by a size."""

    def paint(self, x: Tensor) -> Tensor:
        size = x.square().mean((1, 2, 3), keepdim=True)
        return torch.cat([x * torch.rsqrt(size + 1e-8), x / torch.sqrt(size + 1e-8), x / (size + 1e-8)], dim=1)

    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        return self.paint(latents["z"].unflatten(1, (1, 4, 4)))


class Grouped(Plain):
    """Each sample is convolved with weights of its own, as one group."""

    def paint(self, x: Tensor) -> Tensor:
        n = x.shape[0]
        weight = torch.ones(1, 1, 3, 3) * x.mean((1, 2, 3)).view(n, 1, 1, 1)
        return F.conv2d(x.view(1, n, 4, 4), weight, padding=1, groups=n).view(n, 1, 4, 4)


def test_a_group_of_each_sample_takes_a_number_of_samples(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(ExportError, match=r"ONNX fixes the groups of convolutions.*choose how many \(`--batch 1`\)"):
        export(GeneratorGraph(Grouped()), tmp_path)
    assert export(GeneratorGraph(Grouped()), tmp_path, batch=2)["batch"] == 2


@pytest.mark.parametrize("format", exporting.FORMATS)
def test_a_full_disk_is_told_and_leaves_nothing(format: str, tmp_path: Path, toy: Any) -> None:
    resource = pytest.importorskip("resource")
    if format == "onnx":
        pytest.importorskip("onnxruntime")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(WriteError, match=r"generator\.(onnx|pt2) cannot be written: File too large\. Choose"):
            export(GeneratorGraph(toy), tmp_path, format=format)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_a_generator_in_onnx_takes_each_part_by_name_and_any_batch(tmp_path: Path, toy: Any) -> None:
    facts = export(GeneratorGraph(toy), tmp_path, opset=20)
    latents = toy.complete(toy.sample(4, seed=9))
    latents = latents.replace(const=latents["const"] + 0.1 * torch.randn(4, 4, 4, 4))
    with torch.no_grad():
        wanted, other = (toy.synthesize(latents, noise=choice).numpy() for choice in ("const", "none"))
    found = onnx_run(tmp_path / "generator.onnx", w=latents["w"], const=latents["const"])
    assert np.abs(found["images"] - wanted).max() < 1e-5 < np.abs(found["images"] - other).max()
    assert {"written_by": "ganenc", **facts} == json.loads((tmp_path / "generator.onnx.json").read_text())
    assert [(port["name"], port["shape"], port["kind"]) for port in facts["inputs"]] == [
        ("w", ["batch", 4, 4], "styles"),
        ("const", ["batch", 4, 4, 4], "map"),
    ]
    assert facts["outputs"][0] == {
        "name": "images", "shape": ["batch", 3, 8, 8], "dtype": "float32", "value_range": [-1.0, 1.0]
    }  # fmt: skip
    assert facts["model_hash"] == model_hash(toy)
    assert (facts["noise"]["choice"], facts["opset"], facts["batch"]) == ("const", 20, "any")
    assert facts["parity"]["batches"] == [1, 3]
    assert 0 <= facts["parity"]["outputs"]["images"]["of_range"] < 1e-5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["generator.onnx", "generator.onnx.json"]


def test_noise_may_be_left_out(tmp_path: Path, toy: Any) -> None:
    facts = export(GeneratorGraph(toy, noise="none"), tmp_path, format="torch")
    latents = toy.complete(toy.sample(2, seed=9))
    (images,) = torch_run(tmp_path / "generator.pt2", latents["w"], latents["const"])
    with torch.no_grad():
        assert torch.allclose(images, toy.synthesize(latents, noise="none"), atol=1e-5)
    assert facts["noise"] == {"choice": "none", "means": "no noise is added"}


def test_an_onnx_file_names_its_batch_and_no_place_of_whoever_wrote_it(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    export(GeneratorGraph(Plain().freeze()), tmp_path)
    model = onnx.load(tmp_path / "generator.onnx")
    for port in (*model.graph.input, *model.graph.output):
        assert port.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert str(Path(__file__).resolve().parents[2]).encode() not in (tmp_path / "generator.onnx").read_bytes()


def test_a_conditional_encoder_takes_labels(tmp_path: Path) -> None:
    encoder = small_encoder(ToyColours())
    facts = export(EncoderGraph(encoder), tmp_path)
    images, labels = torch.rand(5, 3, 8, 8) * 2 - 1, torch.tensor([3, 0, 1, 1, 2])
    with torch.no_grad():
        wanted = encoder(images, labels=labels)
        other = encoder(images, labels=labels.flip(0))
    found = onnx_run(tmp_path / "encoder.onnx", images=images, labels=labels)
    assert set(found) == {"z", "c"} == set(wanted.tensors)
    for name, array in found.items():
        assert np.abs(array - wanted[name].numpy()).max() < 1e-5 < np.abs(array - other[name].numpy()).max()
    assert facts["inputs"][1] == {"name": "labels", "shape": ["batch"], "dtype": "int64", "classes": 4}


def test_mapping_and_generator_make_images_of_draws_alone(tmp_path: Path) -> None:
    toy = ToyConditional().freeze()
    export(MappingGraph(toy), tmp_path)
    facts = export(GeneratorGraph(toy), tmp_path, format="torch")
    z, labels = toy.draw(3, seed=1), torch.tensor([2, 0, 1])
    latents = onnx_run(tmp_path / "mapping.onnx", prior=z, labels=labels)
    assert [port["name"] for port in facts["inputs"]] == list(latents) == ["z", "c", "truncation"]
    assert facts["inputs"][2]["default"] == 0.5
    (images,) = torch_run(tmp_path / "generator.pt2", *(torch.from_numpy(latents[name]) for name in latents))
    with torch.no_grad():
        wanted = toy.synthesize(toy.map(z, labels=labels))
    assert torch.allclose(images, wanted, atol=1e-6)
    assert "opset" not in facts
    assert "noise" not in facts


def test_a_small_epsilon_is_kept(tmp_path: Path) -> None:
    export(GeneratorGraph(Normed()), tmp_path)
    z = np.repeat(np.array([0, 1e-5, 1e-4, 1], dtype=np.float32)[:, None], 16, axis=1)
    found = onnx_run(tmp_path / "generator.onnx", z=torch.from_numpy(z))["images"][:, :, 0, 0]
    size = z[:, 0].astype(float) ** 2 + 1e-8
    wanted = z[:, :1] / np.stack([size**0.5, size**0.5, size], axis=1)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_styles_come_from_the_mapping_with_the_generators_own_constant(tmp_path: Path) -> None:
    toy = ToyGenerator(toy_spec((8, 8), dim=4, classes=3)).freeze()
    facts = export(MappingGraph(toy), tmp_path, format="torch", batch=2)
    z, labels = toy.draw(2, seed=1), torch.tensor([2, 0])
    w, const = torch_run(tmp_path / "mapping.pt2", z, labels)
    assert torch.allclose(w, toy.map(z, labels=labels)["w"])
    assert torch.equal(const, toy.const.expand(2, -1, -1, -1))
    assert [port["shape"] for port in facts["inputs"]] == [[2, 6], [2]]
    assert facts["parity"]["batches"] == [2]


def test_draws_that_are_latents_have_no_mapping() -> None:
    with pytest.raises(ExportError, match="has no mapping to export"):
        MappingGraph(Plain())


def test_what_gives_something_else_is_not_written(tmp_path: Path) -> None:
    class Restless(Plain):
        def paint(self, x: Tensor) -> Tensor:
            return x + torch.rand_like(x)

    (tmp_path / "generator.pt2").write_text(f"before, {MARK}")
    with pytest.raises(ExportError, match=r"pt2 is not written: its images of [13] samples differ .* by up to"):
        export(GeneratorGraph(Restless()), tmp_path, format="torch")
    assert [path.read_text() for path in tmp_path.iterdir()] == [f"before, {MARK}"]


def test_differences_are_measured_by_the_range_of_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = GeneratorGraph(Plain())
    off = 1e-3
    monkeypatch.setattr(
        exporting,
        "_torch_runner",
        lambda path: lambda tensors: [image + off for image in graph(*tensors)],
    )
    facts = export(graph, tmp_path, format="torch", batch=1)
    assert facts["parity"]["outputs"]["images"]["difference"] == pytest.approx(1e-3, rel=1e-3)
    assert facts["parity"]["outputs"]["images"]["of_range"] == pytest.approx(5e-4, rel=1e-3)
    for wrong in (2.1e-3, float("nan")):
        off = wrong
        with pytest.raises(ExportError, match="is not written"):
            export(graph, tmp_path, format="torch", batch=1)


class Values(Plain):
    def paint(self, x: Tensor) -> Tensor:
        return torch.linalg.svdvals(x)[..., None].expand(-1, -1, -1, 4)


class Looks(Plain):
    def paint(self, x: Tensor) -> Tensor:
        return x if float(x.mean()) > 0 else -x


class Counts(Plain):
    def paint(self, x: Tensor) -> Tensor:
        return x + torch.arange(len(x))[:, None, None, None]


class Leaves(Plain):
    def paint(self, x: Tensor) -> Tensor:
        return torch.from_numpy(x.numpy() * 2)


@pytest.mark.parametrize(
    ("kind", "format", "why"),
    [
        (Values, "onnx", r"to ONNX: ONNX has nothing for its operator aten\._linalg_svd; take the format torch"),
        (Looks, "torch", r"hangs on values that it computes, which no graph can follow \(test_export\.py, line \d+\)"),
        (Counts, "torch", r"counts on a fixed number of samples; choose one \(`--batch 1`\)"),
        (Leaves, "torch", r"numpy\(\) is not supported .*\(test_export\.py, line \d+\)"),
    ],
)
def test_what_cannot_be_exported_says_why(tmp_path: Path, kind: type[Plain], format: str, why: str) -> None:
    with pytest.raises(ExportError, match=why) as found:
        export(GeneratorGraph(kind()), tmp_path, format=format)
    assert "\n" not in str(found.value)
    assert not list(tmp_path.iterdir())


class Doubles(Plain):
    def paint(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(conv_doubled(x, torch.ones(1, 1, 3, 3)), 2)


def test_the_layer_that_families_share_gives_the_same_in_onnx(tmp_path: Path) -> None:
    export(GeneratorGraph(Doubles()), tmp_path)
    z = torch.randn(2, 16)
    twice = F.interpolate(z.unflatten(1, (1, 4, 4)) * 0.5, scale_factor=2)
    wanted = F.avg_pool2d(F.conv2d(twice, torch.ones(1, 1, 3, 3), padding=1), 2)
    found = onnx_run(tmp_path / "generator.onnx", z=z)["images"]
    assert np.abs(found - wanted.numpy()).max() < 1e-5


def test_a_batch_of_its_own_helps_a_network_that_counts(tmp_path: Path) -> None:
    export(GeneratorGraph(Counts()), tmp_path, format="torch", batch=3)
    z = torch.randn(3, 16)
    (images,) = torch_run(tmp_path / "generator.pt2", z)
    assert torch.allclose(images[2, 0], z[2].unflatten(0, (4, 4)) * 0.5 + 2)


def test_an_opset_that_cannot_be_had_is_told(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"cannot be written with opset 7, only with \d+"):
        export(GeneratorGraph(Plain()), tmp_path, opset=7)
    assert not list(tmp_path.iterdir())


def test_wrong_choices_and_missing_packages_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = GeneratorGraph(Plain())
    with pytest.raises(SpecError, match=r"format: it is onnx or torch, not 'onxn' \(did you mean 'onnx'\?\)"):
        export(graph, tmp_path, format="onxn")
    with pytest.raises(SpecError, match=r"batch: .* not 0"):
        export(graph, tmp_path, batch=0)
    with pytest.raises(SpecError, match="opset: only ONNX files have one"):
        export(graph, tmp_path, format="torch", opset=18)
    with pytest.raises(SpecError, match="noise: in a graph it is const or none, not 'random'"):
        GeneratorGraph(Plain(), noise="random")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    with pytest.raises(ExportError, match=r'takes onnxscript: run `pip install "ganenc\[export\]"`'):
        export(graph, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Any:
    """The command line: words => exit code, stdout, stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        code = ended.value.code
        return (code if isinstance(code, int) else 0, *capsys.readouterr())

    return run


@pytest.fixture
def folder(tmp_path: Path, known: Any) -> Path:
    """A model folder with an encoder in it."""
    known.add_value("generator", "toy-conditional", ToyConditional)
    generator = ToyConditional()
    save_pretrained(generator, tmp_path / "model")
    save_pretrained(small_encoder(generator), tmp_path / "model" / "encoder")
    return tmp_path / "model"


def test_the_command_writes_both_networks(tmp_path: Path, folder: Path, shell: Any) -> None:
    code, out, err = shell("export", "--model", folder, "--out", tmp_path / "out", "--format", "torch", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)["files"]
    assert [one["file"] for one in told] == ["generator.pt2", "encoder.pt2"]
    images = torch.rand(2, 3, 8, 8) * 2 - 1
    labels = torch.tensor([0, 2])
    z, c = torch_run(tmp_path / "out" / "encoder.pt2", images, labels)
    (found,) = torch_run(tmp_path / "out" / "generator.pt2", z, c, torch.full((2,), 0.25))
    generator, encoder = load_generator(folder), load_encoder(folder)
    with torch.no_grad(), generator.using(truncation=0.25):
        wanted = generator.synthesize(encoder(images, labels=labels))
    assert torch.allclose(found, wanted, atol=1e-6)


def test_the_command_says_what_it_wrote_and_what_is_wrong(tmp_path: Path, folder: Path, shell: Any) -> None:
    where = ("--out", tmp_path / "out", "--format", "torch")
    code, out, _ = shell("export", "--model", folder / "encoder", *where, "--batch", 2)
    assert code == 0
    assert "encoder.pt2: images (2, 3, 8, 8), labels (2) => z (2, 5), c (2, 4); within" in out
    for words, message in (
        (("--what", "encodr"), "no 'encodr' to export (did you mean 'encoder'?)"),
        (("--batch", "any"), "--batch takes dynamic or a number of 1 or more; got 'any'"),
        (("--noise", "random"), "in a graph it is const or none"),
    ):
        code, _, err = shell("export", "--model", folder, *where, *words)
        assert code == 2
        assert message in err
    code, _, err = shell("export", "--model", folder / "encoder", *where, "--what", "both")
    assert code == 2
    assert "is an encoder alone" in err
    (folder / "encoder" / "config.json").unlink()
    code, _, err = shell("export", "--model", folder, *where, "--what", "encoder")
    assert code == 1
    assert "has no encoder to export" in err


@pytest.mark.slow
@pytest.mark.parametrize("family", ["stylegan1", "stylegan2", "pggan", "biggan"])
def test_the_shipped_models_reconstruct_in_onnxruntime(tmp_path: Path, family: str) -> None:
    pytest.importorskip("ganenc_plugin_hands")
    generator, encoder = (load(f"{family}-hands64") for load in (load_generator, load_encoder))
    for graph in (GeneratorGraph(generator), EncoderGraph(encoder)):
        for format in ("onnx", "torch"):
            facts = export(graph, tmp_path, format=format)
            assert max(one["of_range"] for one in facts["parity"]["outputs"].values()) < 1e-4
    assert isinstance(encoder, Encoder)
    with torch.no_grad():
        images = generator.synthesize(generator.sample(2, seed=3))
        labels = torch.tensor([1, 4])
        conditional = {} if encoder.embedding is None else {"labels": labels}
        wanted = generator.synthesize(generator.complete(encoder(images, **conditional)))
    latents = onnx_run(tmp_path / "encoder.onnx", images=images, **conditional)
    settings = {part.name: torch.ones(2) for part in generator.spec.layout if part.kind == "setting"}
    given = {name: torch.from_numpy(array) for name, array in latents.items()}
    found = onnx_run(tmp_path / "generator.onnx", **given, **settings)
    assert np.abs(found["images"] - wanted.numpy()).max() < 1e-3
