"""Networks in every format that is read. They are those of the references beside the plugins' tests."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ganenc import save_pretrained
from ganenc.encoders import build_encoder
from ganenc.generators import build_generator
from ganenc_plugin_biggan.specs import published_blocks
from ganenc_plugin_pggan.specs import pggan_spec
from safetensors.torch import save_file
from torch import Tensor, nn

from foreign.containers import dumps, tensorflow_network, torch_network

__all__ = ["FORMATS", "REAL", "SMALL", "Size", "encoder_of_the_authors", "rosinality", "sources"]

TESTS = Path(__file__).resolve().parents[1]
KERAS = importlib.util.find_spec("h5py") is not None


@dataclass(frozen=True)
class Size:
    """How large the networks in a file are: two of a kind differ in ``widths`` alone, from 4x4 up."""

    widths: tuple[int, ...] = (4, 3)
    dim: int = 4
    layers: int = 2
    discriminator: int = 4
    protocol: int = 2
    biggan_width: int = 4
    biggan_layers: tuple[tuple[bool, int, int], ...] = ((False, 4, 4), (True, 4, 1))


SMALL = Size()
REAL = Size(
    widths=(512, 512, 512, 512, 512, 256, 128),
    dim=512,
    layers=8,
    discriminator=28_000_000,
    protocol=4,
    biggan_width=128,
    biggan_layers=tuple((up, a, b) for up, a, b in published_blocks(128)),
)
"""Networks of 256x256 with 24 to 30 million weights, a discriminator of as many; the BigGAN-deep of 128x128."""


def _reference(plugin: str, name: str) -> Any:
    """One of the references beside the plugins' tests."""
    key = f"foreign_{name}"
    if key not in sys.modules:
        spec = importlib.util.spec_from_file_location(key, TESTS / "plugins" / plugin / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[key] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[key])
    return sys.modules[key]


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def _stylegan2(size: Size, **options: Any) -> tuple[Any, Any, dict[str, Tensor]]:
    reference = _reference("stylegan", "stylegan2_reference")
    dims = {"z_dim": size.dim, "w_dim": size.dim, "hidden": size.dim, "label_dim": size.dim}
    net = reference.Net(widths=size.widths, layers=size.layers, **dims, **options)
    return reference, net, reference.weights(net)


def _stylegan1(size: Size) -> tuple[Any, Any, dict[str, Tensor]]:
    reference = _reference("stylegan", "stylegan1_reference")
    dims = {"z_dim": size.dim, "w_dim": size.dim, "hidden": size.dim}
    net = reference.Net(widths=size.widths, layers=size.layers, **dims)
    return reference, net, reference.weights(net)


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _save(path: Path, content: Any, *, older: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not older)
    return path


def nvlabs(folder: Path, size: Size = SMALL) -> Path:
    """stylegan2-ada-pytorch's pickle of G, D and G_ema, with labels."""
    reference, net, tensors = _stylegan2(size, classes=2)
    networks = {key: torch_network(tensors, reference.metadata(net)) for key in ("G", "G_ema")}
    tree = {
        **networks,
        "D": torch_network({"b4.fc.weight": torch.ones(size.discriminator)}),
        "training_set_kwargs": {"path": "x.zip"},
    }
    return _write(folder / "network.pkl", dumps(tree))


def stylegan3(folder: Path, size: Size = SMALL) -> Path:
    """stylegan3's pickle of G, D and G_ema, with labels, in configuration R."""
    reference, dims = _reference("stylegan3", "stylegan3_reference"), dict.fromkeys(("z_dim", "w_dim"), size.dim)
    plan = {"size": 8, "layers": 3} if size is SMALL else {"size": 256, "layers": 14}
    widths = {"channel_base": 8 * size.widths[0], "channel_max": size.widths[0]}
    net = reference.Net(config="r", classes=2, hidden=size.dim, label_dim=size.dim, **dims, **plan, **widths)
    tensors = reference.weights(net)
    tree = {key: torch_network(tensors, reference.metadata(net)) for key in ("G", "G_ema")}
    tree["D"] = torch_network({"b4.fc.weight": torch.ones(size.discriminator)})
    return _write(folder / "network.pkl", dumps(tree))


def _tensorflow(path: Path, tensors: dict[str, Tensor], declared: dict[str, Any], size: Size, **options: Any) -> Path:
    discriminator = tensorflow_network("D", {"4x4/Dense0/weight": torch.ones(size.discriminator)})
    networks = [tensorflow_network(name, tensors, declared) for name in ("G", "Gs")]
    return _write(path, dumps((networks[0], discriminator, networks[1]), **options))


def stylegan2_tensorflow(folder: Path, size: Size = SMALL) -> Path:
    """stylegan2's pickle."""
    reference, net, tensors = _stylegan2(size)
    declared = {"static_kwargs": {"resolution": net.resolution, "mapping_layers": net.layers}}
    return _tensorflow(folder / "network.pkl", reference.as_tensorflow(net, tensors), declared, size)


def stylegan1_tensorflow(folder: Path, size: Size = SMALL) -> Path:
    """stylegan's pickle, by Python 2's protocol."""
    reference, net, tensors = _stylegan1(size)
    return _tensorflow(folder / "network.pkl", tensors, reference.declared(net), size, protocol=size.protocol)


def pggan_tensorflow(folder: Path, size: Size = SMALL) -> Path:
    """progressive_growing_of_gans' pickle, in which the class lies elsewhere."""
    side = 4 << (len(size.widths) - 1)
    reference = _reference("pggan", "pggan_reference")
    tensors = reference.tensorflow_weights(side, widths=size.widths, inputs=size.dim)
    return _tensorflow(folder / "network.pkl", tensors, {}, size, protocol=size.protocol, tensorflow="tfutil")


def rosinality(folder: Path, size: Size = SMALL, *, older: bool = False) -> Path:
    """rosinality's file, with the training's options."""
    reference, net, tensors = _stylegan2(size)
    content = {"g_ema": reference.as_rosinality(net, tensors), "latent_avg": tensors["mapping.w_avg"], "iter": 7}
    return _save(folder / "checkpoint.pt", content, older=older)


def stylegan2_genforce(folder: Path, size: Size = SMALL) -> Path:
    """genforce's file of a StyleGAN2."""
    reference, net, tensors = _stylegan2(size, classes=2, joint=True)
    return _save(folder / "checkpoint.pth", {"generator_smooth": reference.as_genforce(net, tensors)})


def stylegan1_genforce(folder: Path, size: Size = SMALL) -> Path:
    """genforce's file of a StyleGAN1."""
    reference, net, tensors = _stylegan1(size)
    return _save(folder / "checkpoint.pth", {"generator_smooth": reference.as_genforce(net, tensors)})


def pggan_genforce(folder: Path, size: Size = SMALL) -> Path:
    """genforce's file of a PGGAN."""
    tensors = _reference("pggan", "pggan_reference").genforce_weights(widths=size.widths, inputs=size.dim)
    return _save(folder / "checkpoint.pth", {"generator_smooth": tensors})


def pggan_mmgeneration(folder: Path, size: Size = SMALL) -> Path:
    """mmgeneration's file of a PGGAN."""
    tensors = _reference("pggan", "pggan_layouts_reference").mm_weights(widths=size.widths, inputs=size.dim)
    return _save(folder / "checkpoint.pth", {"meta": {"iter": 7}, "state_dict": _prefixed("generator_ema.", tensors)})


def pggan_gan_zoo(folder: Path, size: Size = SMALL) -> Path:
    """pytorch_GAN_zoo's file of a PGGAN."""
    tensors = _reference("pggan", "pggan_layouts_reference").zoo_weights(widths=size.widths, inputs=size.dim)
    return _save(folder / "checkpoint.pth", {"config": {"alpha": 0, "leakyReluLeak": 0.2}, "avgG": tensors})


def stylegan1_mmgeneration(folder: Path, size: Size = SMALL) -> Path:
    """mmgeneration's file of a StyleGAN1."""
    tensors = _reference("stylegan", "stylegan1_layouts_reference").mm_weights(widths=size.widths)
    return _save(folder / "checkpoint.pth", {"meta": {"iter": 7}, "state_dict": _prefixed("generator_ema.", tensors)})


def stylegan2_mmgeneration(folder: Path, size: Size = SMALL) -> Path:
    """mmgeneration's file of a StyleGAN2."""
    reference, net, tensors = _stylegan2(size)
    tensors = reference.as_mmgeneration(reference.as_rosinality(net, tensors))
    return _save(folder / "checkpoint.pth", {"meta": {"iter": 7}, "state_dict": _prefixed("generator_ema.", tensors)})


def stylegan1_gan_zoo(folder: Path, size: Size = SMALL) -> Path:
    """pytorch_GAN_zoo's file of a StyleGAN1."""
    reference = _reference("stylegan", "stylegan1_layouts_reference")
    tensors = reference.zoo_weights(widths=(reference.W, *size.widths[1:]), z_dim=size.dim)
    return _save(folder / "checkpoint.pth", {"config": {"alpha": 0, "leakyReluLeak": 0.2}, "avgG": tensors})


def stylegan2_lucidrains(folder: Path, size: Size = SMALL, **options: Any) -> Path:
    """stylegan2-pytorch's file, the averaged networks alone, and the settings in its folder."""
    tensors = _reference("stylegan", "lucidrains_reference").weights(size.widths, **options)
    tensors = {name: tensor for name, tensor in tensors.items() if name.startswith(("GE.", "SE."))}
    (folder / ".config.json").write_text(json.dumps({"lr_mlp": 0.1}))
    _save(folder / "model_1.pt", {"GAN": tensors, "version": "1.9.0"})
    return folder


def safetensors(folder: Path, size: Size = SMALL) -> Path:
    """The weights of a StyleGAN2 as somebody exported them."""
    reference, net, tensors = _stylegan2(size)
    named = _prefixed("generator_smooth.", reference.as_genforce(net, tensors))
    save_file({name: tensor.contiguous() for name, tensor in named.items()}, folder / "weights.safetensors")
    return folder / "weights.safetensors"


def gs_gm(folder: Path, size: Size = SMALL) -> Path:
    """The three files of the paper's own layout."""
    reference, net, tensors = _stylegan1(size)
    synthesis, mapping = reference.as_gs_gm(net, tensors)
    _save(folder / "Gs_dict.pth", synthesis)
    _save(folder / "Gm_dict.pth", mapping)
    _save(folder / "center_tensor.pt", tensors["dlatent_avg"].expand(2 * len(net.widths), -1).contiguous())
    return folder


def podgorskiy(folder: Path, size: Size = SMALL) -> Path:
    """podgorskiy's file, the names of the paper's own in one."""
    reference, net, tensors = _stylegan1(size)
    synthesis, mapping = reference.as_gs_gm(net, tensors)
    mean = {"buff": tensors["dlatent_avg"].expand(2 * len(net.widths), -1).contiguous()}
    models = {"generator": synthesis, "mapping": mapping, "dlatent_avg": mean}
    return _save(folder / "checkpoint.pth", {"models": models})


def biggan(folder: Path, size: Size = SMALL) -> Path:
    """pytorch-pretrained-BigGAN's two files."""
    reference = _reference("biggan", "biggan_reference")
    layers = [list(layer) for layer in size.biggan_layers]
    side = 4 << sum(up for up, _, _ in size.biggan_layers)
    dims = {"z_dim": size.dim, "class_embed_dim": size.dim, "num_classes": 2, "n_stats": 3}
    own = {"output_dim": side, "channel_width": size.biggan_width, "layers": layers, "attention_layer_position": 1}
    config = {**reference.CONFIG, **dims, **own}
    (folder / "config.json").write_text(json.dumps(config))
    _save(folder / "pytorch_model.bin", reference.Net(config).state_dict())
    return folder


def biggan_ajbrock(folder: Path, size: Size = SMALL, **options: Any) -> Path:
    """BigGAN-PyTorch's file."""
    reference = _reference("biggan", "ajbrock_reference")
    widths = tuple(16 * width for width in size.widths)
    dims = {"z_dim": size.dim * len(widths), "c_dim": size.dim, "classes": 2}
    return _save(folder / "G_ema.pth", reference.weights(reference.Net(widths=widths, **dims, **options)))


def fastgan_projected(folder: Path, size: Size = SMALL, **options: Any) -> Path:
    """The state of Projected GANs' generator."""
    net = _reference("fastgan", "fastgan_reference").FastNet(128, 2 * size.widths[0], **options)
    return _save(folder / "G.pth", _prefixed("G_ema.synthesis.", net.state_dict()))


def fastgan(folder: Path, size: Size = SMALL) -> Path:
    """FastGAN's file."""
    options = {"small": (16, 64, 256), "projected": False}
    net = _reference("fastgan", "fastgan_reference").FastNet(256, 2 * size.widths[0], **options)
    return _save(folder / "1.pth", {"g": net.state_dict()})


def lightweight_gan(folder: Path, size: Size = SMALL) -> Path:
    """lightweight-gan's file."""
    net = _reference("fastgan", "fastgan_reference").LightNet((*size.widths, size.widths[-1]), attention=(4,))
    networks = {f"{copy}.{key}": one for copy in ("G", "GE") for key, one in net.state_dict().items()}
    return _save(folder / "model_1.pt", {"GAN": networks, "version": "1.2.1"})


def dcgan(folder: Path, size: Size = SMALL, *, normalised: bool = False) -> Path:
    """A row of transposed convolutions, as PyTorch's example has it; or with spectral norm, and PReLU."""
    wide = [size.dim, *size.widths, 3]
    layers: list[nn.Module] = []
    for place, (inputs, outputs) in enumerate(itertools.pairwise(wide)):
        layer = nn.ConvTranspose2d(inputs, outputs, 4, 1 + bool(place), int(bool(place)), bias=normalised)
        layers.append(nn.utils.parametrizations.spectral_norm(layer) if normalised else layer)
        layers += [nn.BatchNorm2d(outputs), nn.PReLU() if normalised else nn.ReLU()]
    state = nn.Sequential(*layers[:-2], nn.Tanh()).state_dict()
    return _save(folder / "netG.pth", {"netG_state_dict": _prefixed("main.", state)})


def keras(folder: Path, size: Size = SMALL, *, name: str = "nested.keras") -> Path:
    """A generator of Keras's, as it was written there."""
    return Path(shutil.copy(TESTS / "plugins" / "dcgan" / "keras_files" / name, folder))


def linear_gan(folder: Path, size: Size = SMALL) -> Path:
    """A row of linear layers, with a table of classes."""
    wide = [2 * size.dim, *size.widths, 64]
    layers = [nn.Linear(inputs, outputs) for inputs, outputs in itertools.pairwise(wide)]
    norm = nn.BatchNorm1d(wide[-2], 0.8)
    named = _prefixed("label_emb.", nn.Embedding(2, size.dim).state_dict())
    for place, module in {0: layers[0], 2: layers[1], 3: norm, 5: layers[2]}.items():
        named |= _prefixed(f"model.{place}.", module.state_dict())
    return _save(folder / "generator.pth", named)


def encoder_of_the_authors(folder: Path, size: Size = SMALL) -> Path:
    """An encoder file of the paper's authors, with the widths of the generator the other way round."""
    widths = size.widths[::-1]
    out = {"FromRGB.from_rgb.weight": torch.ones(widths[0], 3, 1, 1), "FromRGB.from_rgb.bias": torch.ones(widths[0])}
    for index, (channels, after) in enumerate(zip(widths, [*widths[1:], widths[-1]])):
        last = index == len(widths) - 1
        shapes = {"conv_1.weight": (channels, channels, 3, 3), "bias_1": (1, channels, 1, 1)}
        shapes["noise_weight_1"] = (1, channels, 1, 1)
        for head in (1, 2):
            shapes |= {f"inver_mod{head}.weight": (size.dim, 2 * channels), f"inver_mod{head}.bias": (size.dim,)}
        if not last:
            shapes |= {"conv_2.weight": (after, channels, 3, 3), "bias_2": (1, after, 1, 1)}
            shapes |= {"noise_weight_2": (1, after, 1, 1)}
            if channels != after:
                shapes |= {"conv_3.weight": (after, channels, 1, 1), "conv_3.bias": (after,)}
        out |= {f"decode_block.{index}.{key}": torch.ones(shape) for key, shape in shapes.items()}
    return _save(folder / "encoder.pth", out)


def _encoders() -> Any:
    return _reference("methods", "encoders_reference")


def psp(folder: Path, size: Size = SMALL) -> Path:
    """pSp's file, without the generator; its settings tell what its options tell."""
    (folder / "psp.yaml").write_text("family: psp\n")
    return _save(folder / "psp.pt", _encoders().published(_encoders().pyramid(), "GradualStyleEncoder"))


def last_layer(folder: Path, size: Size = SMALL) -> Path:
    """The file of an encoder that pSp is compared with."""
    (folder / "w.yaml").write_text("family: last-layer\nstylegan_size: 32\n")
    return _save(folder / "w.pt", {"state_dict": _prefixed("encoder.", _encoders().last_layer(pooled=False))})


def restyle(folder: Path, size: Size = SMALL) -> Path:
    """ReStyle's file, with offsets and ResNet-34."""
    (folder / "restyle.yaml").write_text("family: restyle\noffsets: true\n")
    encoder = _encoders().backbone(resnet=True)
    return _save(folder / "restyle.pt", _encoders().published(encoder, "ResNetProgressiveBackboneEncoder"))


def e2style(folder: Path, size: Size = SMALL) -> Path:
    """E2Style's file of two stages."""
    return _save(folder / "e2style.pt", _encoders().published(_encoders().staged(), None))


def in_domain(folder: Path, size: Size = SMALL) -> Path:
    """The encoder of In-domain GAN inversion."""
    return _save(folder / "encoder.pth", _encoders().indomain())


def alae(folder: Path, size: Size = SMALL) -> Path:
    """ALAE's file, its averaged encoder alone."""
    return _save(folder / "model.pth", {"models": {"discriminator_s": _encoders().alae()}})


def d2e(folder: Path, size: Size = SMALL) -> Path:
    """An encoder that was a DCGAN's discriminator."""
    return _save(folder / "E_model.pth", _encoders().d2e((3, *[4] * 6)))


def model_folder(folder: Path, size: Size = SMALL) -> Path:
    """A generator as we save it, with its encoder."""
    channels = {4 << level: width for level, width in enumerate(size.widths)}
    side = max(channels)
    generator = build_generator(pggan_spec((side, side), channels, z_dim=size.dim))
    save_pretrained(generator, folder)
    save_pretrained(build_encoder(generator), folder / "encoder")
    return folder


def encoder_folder(folder: Path, size: Size = SMALL) -> Path:
    """An encoder as we save it."""
    return model_folder(folder, size) / "encoder"


FORMATS: dict[str, Callable[..., Path]] = {
    "nvlabs": nvlabs,
    "stylegan3": stylegan3,
    "stylegan2-tensorflow": stylegan2_tensorflow,
    "stylegan1-tensorflow": stylegan1_tensorflow,
    "pggan-tensorflow": pggan_tensorflow,
    "rosinality": rosinality,
    "rosinality-older": functools.partial(rosinality, older=True),
    "stylegan2-genforce": stylegan2_genforce,
    "stylegan1-genforce": stylegan1_genforce,
    "pggan-genforce": pggan_genforce,
    "pggan-mmgeneration": pggan_mmgeneration,
    "pggan-gan-zoo": pggan_gan_zoo,
    "stylegan1-mmgeneration": stylegan1_mmgeneration,
    "stylegan1-gan-zoo": stylegan1_gan_zoo,
    "stylegan1-podgorskiy": podgorskiy,
    "stylegan2-mmgeneration": stylegan2_mmgeneration,
    "stylegan2-lucidrains": stylegan2_lucidrains,
    "stylegan2-lucidrains-attention": functools.partial(stylegan2_lucidrains, attention=(0,), const=False),
    "safetensors": safetensors,
    "gs-gm": gs_gm,
    "biggan": biggan,
    "biggan-ajbrock": functools.partial(biggan_ajbrock, attention=(0,)),
    "biggan-ajbrock-deep": functools.partial(biggan_ajbrock, depth=1),
    "biggan-ajbrock-flat": functools.partial(biggan_ajbrock, hier=False, shared=False),
    "fastgan": fastgan,
    "fastgan-projected": fastgan_projected,
    "fastgan-projected-labels": functools.partial(fastgan_projected, classes=2),
    "lightweight-gan": lightweight_gan,
    "dcgan": dcgan,
    "dcgan-normalised": functools.partial(dcgan, normalised=True),
    "linear-gan": linear_gan,
    **({"keras": keras, "keras-h5": functools.partial(keras, name="functional.h5")} if KERAS else {}),
    "encoder-of-the-authors": encoder_of_the_authors,
    "psp": psp,
    "last-layer": last_layer,
    "restyle": restyle,
    "e2style": e2style,
    "in-domain": in_domain,
    "alae": alae,
    "d2e": d2e,
    "model-folder": model_folder,
    "encoder-folder": encoder_folder,
}
"""Each writes its format into a folder, of some `Size`, and returns what a user would name."""


def sources(folder: Path) -> dict[str, Path]:
    """Write every format, each into a folder of its own."""
    found = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name, write in FORMATS.items():
            (folder / name).mkdir(parents=True)
            found[name] = write(folder / name)
    return found
