"""Files as people hold them, made by torch's own modules and read from shapes and the order of keys alone."""

from __future__ import annotations

import itertools
import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ganenc
import numpy as np
import pytest
import torch
from ganenc.cli import main
from ganenc.foreign import read_checkpoint
from ganenc.testing import check
from ganenc_plugin_dcgan.dcgan import DCGAN
from ganenc_registry.errors import CheckpointError
from safetensors.torch import save_file
from torch import Tensor, nn


def transposed(
    widths: tuple[int, ...],
    *,
    inputs: int = 100,
    kernels: tuple[int, ...] = (),
    steps: tuple[Any, ...] = (),
    **options: Any,
) -> list[nn.Module]:
    """Rows of transposed convolution, batch norm and ReLU, the last with a tanh alone."""
    layers: list[nn.Module] = []
    for place, width in enumerate(widths):
        kernel = kernels[place] if kernels else 4
        stride, padding = steps[place] if steps else (1, 0) if place == 0 else (2, 1)
        layers.append(nn.ConvTranspose2d(inputs, width, kernel, stride, padding, **{"bias": False, **options}))
        layers += [nn.BatchNorm2d(width), nn.ReLU()] if place < len(widths) - 1 else [nn.Tanh()]
        inputs = width
    return layers


class Upsampling(nn.Module):
    """PyTorch-GAN's DCGAN."""

    def __init__(self, channels: int, wide: int = 16) -> None:
        super().__init__()
        self.wide = wide
        self.l1 = nn.Sequential(nn.Linear(100, wide * 8 * 8))
        self.conv_blocks = nn.Sequential(
            nn.BatchNorm2d(wide), nn.Upsample(scale_factor=2), nn.Conv2d(wide, wide, 3, padding=1),
            nn.BatchNorm2d(wide, 0.8), nn.LeakyReLU(0.2), nn.Upsample(scale_factor=2),
            nn.Conv2d(wide, 8, 3, padding=1), nn.BatchNorm2d(8, 0.8), nn.LeakyReLU(0.2),
            nn.Conv2d(8, channels, 3, padding=1), nn.Tanh(),
        )  # fmt: skip

    def forward(self, z: Tensor) -> Tensor:
        made: Tensor = self.conv_blocks(self.l1(z).view(-1, self.wide, 8, 8))
        return made


class Named(nn.Module):
    """Layers with names of their own, what lies between in `forward`."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 32 * 7 * 7)
        self.bn0 = nn.BatchNorm1d(32 * 7 * 7)
        self.deconv1, self.bn1 = nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.BatchNorm2d(16)
        self.deconv2 = nn.ConvTranspose2d(16, 1, 4, 2, 1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.bn0(self.fc(z)).relu().view(-1, 32, 7, 7)
        made: Tensor = self.deconv2(self.bn1(self.deconv1(x)).relu()).tanh()
        return made


class Ordered(nn.Module):
    """Convolution, activation, norm: in this order."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.ConvTranspose2d(50, 16, 4, 1, 0), nn.ReLU(), nn.BatchNorm2d(16),
            nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.ReLU(), nn.BatchNorm2d(8),
            nn.ConvTranspose2d(8, 3, 4, 2, 1), nn.Tanh(),
        )  # fmt: skip

    def forward(self, z: Tensor) -> Tensor:
        made: Tensor = self.net(z[:, :, None, None])
        return made


class Held(nn.Module):
    """Layers in a container of some name, z as a map of one pixel where they are convolutions."""

    def __init__(self, name: str, layers: list[nn.Module], shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.name, self.shape = name, shape
        setattr(self, name, nn.Sequential(*layers))

    def forward(self, z: Tensor) -> Tensor:
        made: Tensor = getattr(self, self.name)(z if self.shape else z[:, :, None, None])
        return made.view(-1, *self.shape) if self.shape else made


class Course(nn.Module):
    """A course's GAN of digits: no padding, biases, blocks in blocks; its last is `gen.3.0`."""

    def __init__(self) -> None:
        super().__init__()
        wide, kernels, strides = (64, 16, 8, 8, 1), (3, 4, 3, 4), (2, 1, 2, 2)
        blocks = []
        for place, (kernel, stride) in enumerate(zip(kernels, strides)):
            layer = nn.ConvTranspose2d(wide[place], wide[place + 1], kernel, stride)
            blocks.append(
                nn.Sequential(layer, nn.BatchNorm2d(wide[place + 1]), nn.ReLU()) if place < 3
                else nn.Sequential(layer, nn.Tanh())
            )  # fmt: skip
        self.gen = nn.Sequential(*blocks)

    def forward(self, z: Tensor) -> Tensor:
        made: Tensor = self.gen(z[:, :, None, None])
        return made


def linear(widths: tuple[int, ...], **norms: Any) -> list[nn.Module]:
    """Linear layers and leaky ReLU, with batch norms from the second where they are asked for."""
    layers: list[nn.Module] = []
    for place, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        layers.append(nn.Linear(inputs, outputs))
        if place < len(widths) - 2:
            layers += [nn.BatchNorm1d(outputs, **norms)] if norms and place else []
            layers.append(nn.LeakyReLU(0.2))
    return [*layers, nn.Tanh()]


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, tuple[int, int, int]]] = {
    "PyTorch's example": (lambda: Held("main", transposed((32, 16, 8, 8, 3))), 100, (3, 64, 64)),
    "32 pixels, other names": (lambda: Held("layers", transposed((16, 8, 8, 1), inputs=62)), 62, (1, 32, 32)),
    "128 pixels, with biases": (lambda: Held("net", transposed((32, 16, 8, 8, 8, 4), bias=True)), 100, (4, 128, 128)),
    "28 pixels by an odd kernel": (
        lambda: Held("main", transposed((16, 8, 8, 1), kernels=(4, 3, 4, 4), steps=((1, 0), (2, 1), (2, 1), (2, 1)))),
        100,
        (1, 28, 28),
    ),
    "28 pixels, cut from 32": (
        lambda: Held(
            "main", transposed((16, 8, 8, 8, 1), kernels=(4, 4, 4, 4, 1), steps=((1, 0), *[(2, 1)] * 3, (1, 2)))
        ),
        100,
        (1, 28, 28),
    ),
    "a course's, unpadded": (Course, 64, (1, 28, 28)),
    "enlarged between convolutions": (lambda: Upsampling(3), 100, (3, 32, 32)),
    "a linear layer first": (Named, 64, (1, 28, 28)),
    "the norm last": (Ordered, 50, (3, 16, 16)),
    "linear": (lambda: Held("fc", linear((100, 32, 64, 3 * 32 * 32)), (3, 32, 32)), 100, (3, 32, 32)),
    "linear, PyTorch-GAN's": (
        lambda: Held("model", linear((100, 32, 64, 128, 784), eps=0.8), (1, 28, 28)), 100, (1, 28, 28)
    ),
}  # fmt: skip


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line: exit code, what it printed, what it complained of."""

    def command(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return command


def made(build: Callable[[], nn.Module]) -> nn.Module:
    """The network, every weight and statistic away from where it starts."""
    torch.manual_seed(0)
    network = build()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.ndim > 1:
                tensor.mul_(2)  # Fresh weights give images that are nearly all alike.
            if tensor.ndim == 1:
                tensor.uniform_(0.5, 1.5) if name.endswith(("weight", "var")) else tensor.uniform_(-0.3, 0.3)
    return network.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_opens_without_a_word_and_gives_the_same_images(name: str, tmp_path: Path) -> None:
    build, dim, shape = NETWORKS[name]
    network = made(build)
    torch.save(network.state_dict(), tmp_path / "netG.pth")
    model = ganenc.load(tmp_path / "netG.pth", backbone="none")
    z = torch.randn(3, dim, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found = network(z), model.generator.synthesize(model.generator.map(z))
    assert (model.generator.spec.channels, *model.generator.spec.size) == shape
    # The same operators on the same numbers; sums of a convolution may be ordered otherwise.
    assert torch.allclose(found, expected, atol=1e-5)


def wrapped(way: str, state: dict[str, Tensor]) -> Any:
    other = {"main.0.weight": torch.randn(8, 3, 4, 4), "main.2.weight": torch.randn(1, 8, 4, 4)}
    return {
        "module": lambda: OrderedDict((f"module.{name}", tensor) for name, tensor in state.items()),
        "netG_state_dict": lambda: {"epoch": 3, "netG_state_dict": state, "netD_state_dict": other},
        "generator": lambda: {"generator": state, "discriminator": other, "losses": [0.5]},
        "state_dict": lambda: {"state_dict": state, "args": {"nz": 100}},
        "both copies": lambda: {"g": {n: t + 1 for n, t in state.items()}, "g_ema": state},
        "model, in half": lambda: {"model": {name: tensor.half() for name, tensor in state.items()}},
    }[way]()


@pytest.mark.parametrize(
    "way", ["module", "netG_state_dict", "generator", "state_dict", "both copies", "model, in half"]
)
def test_wherever_in_a_file_the_network_lies_it_is_found(way: str, tmp_path: Path) -> None:
    network = made(NETWORKS["PyTorch's example"][0])
    torch.save(wrapped(way, network.state_dict()), tmp_path / "file.pt")
    generator = ganenc.load_generator(tmp_path / "file.pt")
    z = torch.randn(2, 100, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found, expected = generator.synthesize(generator.map(z)), network(z)
    # Weights in half precision are off by 2^-11 of themselves, in each of five layers.
    assert torch.allclose(found, expected, atol=0.05 if "half" in way else 1e-5)


def test_names_in_the_order_of_the_alphabet_are_put_in_that_of_their_numbers(tmp_path: Path) -> None:
    network = made(NETWORKS["PyTorch's example"][0])
    save_file(network.state_dict(), tmp_path / "netG.safetensors")
    generator = ganenc.load_generator(tmp_path / "netG.safetensors")
    z = torch.randn(2, 100, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(generator.synthesize(generator.map(z)), network(z), atol=1e-5)


def test_classes_go_in_as_a_row_beside_z(tmp_path: Path) -> None:
    network = made(lambda: Held("main", transposed((16, 8, 8, 3), inputs=108)))
    torch.save(network.state_dict(), tmp_path / "netG.pth")
    generator = ganenc.load_generator(tmp_path / "netG.pth")
    assert (generator.spec.prior.dim, generator.spec.classes) == (100, 8)
    z, labels = torch.randn(2, 100, generator=torch.Generator().manual_seed(1)), torch.tensor([1, 6])
    with torch.no_grad():
        found = generator.synthesize(generator.map(z, labels=labels))
        expected = network(torch.cat([z, nn.functional.one_hot(labels, 8).float()], 1))
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("dim", "joined"), [(100, "times"), (10, "before")])
def test_a_table_of_classes_is_found(dim: int, joined: str, tmp_path: Path) -> None:
    """Rows of the table's length of z multiply it; others lie before it, as in PyTorch-GAN."""
    inputs = 100 if joined == "times" else 110
    network = made(lambda: Held("model", linear((inputs, 32, 1024)), (1, 32, 32)))
    table = torch.randn(10, dim, generator=torch.Generator().manual_seed(2))
    torch.save({"label_emb.weight": table, **network.state_dict()}, tmp_path / "generator.pth")
    generator = ganenc.load_generator(tmp_path / "generator.pth")
    assert (generator.spec.prior.dim, generator.spec.classes) == (100, 10)
    z, labels = torch.randn(2, 100, generator=torch.Generator().manual_seed(1)), torch.tensor([1, 6])
    with torch.no_grad():
        found = generator.synthesize(generator.map(z, labels=labels))
        rows = table[labels]
        expected = network(z * rows if joined == "times" else torch.cat([rows, z], 1))
    assert torch.allclose(found, expected, atol=1e-5)


def test_what_a_file_cannot_tell_is_shown_written_and_settled(run: Any, tmp_path: Path) -> None:
    """A network whose activations are no convention."""
    layers = [nn.SiLU() if isinstance(one, nn.ReLU) else one for one in transposed((16, 8, 3))]
    network = made(lambda: Held("main", [*layers[:-1], nn.Sigmoid()]))
    file, yaml = tmp_path / "netG.pth", tmp_path / "netG.yaml"
    torch.save(network.state_dict(), file)
    code, out, _ = run("spec", file, "--write", yaml)
    assert (code, "Taken by convention" in out, "{kind: activation, name: tanh}  # guess" in out) == (0, True, True)
    text = yaml.read_text()
    code, _, err = run("spec", file, "--write", yaml)
    assert (code, "nothing to --write" in err or "is there already, perhaps with corrections" in err) == (2, True)
    assert text.count("# guess") == text.count("name: relu") + text.count("name: tanh") + 4, text
    settled = text.replace("relu", "silu").replace("name: tanh", "name: sigmoid").replace("[-1.0, 1.0]", "[0.0, 1.0]")
    yaml.write_text(settled.replace("prior: normal", "prior: uniform"))
    generator = ganenc.load_generator(file)
    assert (generator.spec.value_range, generator.spec.prior.kind) == ((0.0, 1.0), "uniform")
    z = torch.rand(2, 100, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        assert torch.allclose(generator.synthesize(generator.map(z)), network(z), atol=1e-5)
    yaml.write_text(settled.replace("silu", "sillu", 1))
    code, _, err = run("spec", file)
    assert (code, "netG.yaml" in err, "sillu" in err) == (1, True, True), err
    yaml.write_text(settled.replace("family: dcgan", "family: dcgam"))
    code, _, err = run("spec", file)
    assert (code != 0, f"In {yaml}: family: " in err, "did you mean 'dcgan'" in err) == (True, True, True)
    yaml.write_text(settled.replace("outputs: 8", "outputs: 9"))
    code, _, err = run("spec", file)
    assert (code, "where (16, 9, 4, 4) is needed" in err, f"correct {yaml}" in err) == (1, True, True)
    yaml.write_text("lr: 0.0002\nbatch: 64\n")  # Another's, which names no family.
    assert "relu" in ganenc.load_generator(file).taken_as


def test_samples_that_show_that_a_convention_fails_say_so(tmp_path: Path) -> None:
    network = made(lambda: Held("main", transposed((16, 8, 3))))
    state = network.state_dict()
    torch.save({**state, "main.6.weight": state["main.6.weight"] * 0}, tmp_path / "flat.pth")
    with pytest.warns(UserWarning, match=r"samples are all alike; settle what it is: `ganenc spec flat.pth --write"):
        ganenc.load_generator(tmp_path / "flat.pth")
    torch.save({**state, "main.3.weight": state["main.3.weight"] * torch.nan}, tmp_path / "nan.pth")
    with pytest.raises(CheckpointError, match=r"'main.3.weight' holds NaN"):
        ganenc.load_generator(tmp_path / "nan.pth")


def test_what_is_no_row_is_left_to_others(tmp_path: Path) -> None:
    discriminator = nn.Sequential(nn.Conv2d(3, 8, 4, 2, 1), nn.Conv2d(8, 16, 4, 2, 1), nn.Conv2d(16, 1, 4))
    classifier = nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    for place, network in enumerate((discriminator, classifier)):
        torch.save(network.state_dict(), tmp_path / f"{place}.pth")
        assert not DCGAN.recognises(read_checkpoint(tmp_path / f"{place}.pth"))
    state = made(NETWORKS["PyTorch's example"][0]).state_dict()
    torch.save({**state, "main.3.weight": state["main.3.weight"][:, :5]}, tmp_path / "broken.pth")
    with pytest.raises(CheckpointError, match="No installed family recognises"):
        ganenc.load_generator(tmp_path / "broken.pth")


def test_the_kit_accepts_what_is_read(tmp_path: Path) -> None:
    torch.save(made(lambda: Held("main", transposed((8, 8, 3), inputs=26 + 64))).state_dict(), tmp_path / "netG.pth")
    assert any(outcome.passed for outcome in check(ganenc.load_generator(tmp_path / "netG.pth")))


@pytest.mark.filterwarnings("ignore:.*its samples")
@pytest.mark.parametrize("name", ["gan-face-generate", "generateme", "omniart-eyes"])
def test_published_files_give_their_images(name: str, shared: Path, tmp_path: Path) -> None:
    """Weights of their shapes stand in here, as the published lie in wheels: what is read is the architecture."""
    folder = shared / "encoders" / f"dcgan-{name}"
    layout = json.loads((folder / "layout.json").read_text())
    generator = torch.Generator().manual_seed(0)
    state = {key: torch.rand(shape, generator=generator) / 8 for key, shape, _ in layout["keys"]}
    torch.save(
        {key: (tensor - 0.5 if tensor.ndim > 1 else tensor) for key, tensor in state.items()}, tmp_path / "netG.pth"
    )
    spec = ganenc.load_generator(tmp_path / "netG.pth").spec
    expected = np.load(folder / "expected.npz")["image"]
    assert (spec.channels, *spec.size) == expected.shape[1:]


def test_gan_zoo_gives_its_images(shared: Path) -> None:
    folder = shared / "checkpoints" / "dcgan_ganzoo"
    generator = ganenc.load_generator(folder / "checkpoint.pth")
    expected = np.load(folder / "expected.npz")
    with torch.no_grad():
        found = generator.synthesize(generator.map(torch.from_numpy(expected["z"]))).numpy()
    assert np.abs(found - expected["img"]).max() < 1e-4 * expected["img"].std()


def test_a_file_is_checked_from_the_command_line(run: Any, tmp_path: Path) -> None:
    torch.save(made(lambda: Held("main", transposed((8, 8, 3), inputs=26 + 64))).state_dict(), tmp_path / "netG.pth")
    code, out, err = run("check", tmp_path / "netG.pth", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert {one["subject"] for one in found} == {"generator:netG.pth"}
    assert {one["result"] for one in found} <= {"passed", "skipped"}
