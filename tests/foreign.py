"""Small files in every format that is read, written as the programs write them that users have them from.

Tests import this as ``foreign``. The networks are those of the references beside the plugins' tests.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from ganenc.encoder import build_encoder
from ganenc.models import build_generator
from ganenc_plugin_pggan.specs import pggan_spec
from safetensors.torch import save_file
from torch import Tensor

__all__ = [
    "FORMATS",
    "Calls",
    "Network",
    "dumps",
    "module",
    "nested",
    "sources",
    "storage_bytes",
    "tensorflow_network",
    "torch_network",
]

HERE = Path(__file__).resolve().parent
_PACKAGES = ("torch_utils", "dnnlib", "tfutil")


class Calls:
    """Pickles as a call of any function with any arguments."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments


class Network:
    """Stands for the class of TensorFlow networks when pickles of that kind are written here."""


def _reconstruct_persistent_obj(meta: Any) -> None:
    """Stands for the function that rebuilds torch networks when pickles of that kind are written here."""


@contextlib.contextmanager
def _published_names(tensorflow: str) -> Iterator[None]:
    """Let the two names above be pickled as NVIDIA's files name them."""
    places = ((Network, tensorflow), (_reconstruct_persistent_obj, "torch_utils.persistence"))
    before = {name: sys.modules[name] for name in list(sys.modules) if name.split(".")[0] in _PACKAGES}
    modules = [stand_in.__module__ for stand_in, _ in places]
    try:
        for stand_in, place in places:
            parts = place.split(".")
            for i in range(len(parts)):
                sys.modules[".".join(parts[: i + 1])] = types.ModuleType(".".join(parts[: i + 1]))
            setattr(sys.modules[place], stand_in.__name__, stand_in)
            stand_in.__module__ = place
        yield
    finally:
        for (stand_in, _), module in zip(places, modules):
            stand_in.__module__ = module
        for name in [name for name in sys.modules if name.split(".")[0] in _PACKAGES]:
            del sys.modules[name]
        sys.modules.update(before)


def dumps(tree: Any, *, protocol: int = 4, tensorflow: str = "dnnlib.tflib.network") -> bytes:
    """Pickle a tree; networks are named as NVIDIA's programs name them."""
    with _published_names(tensorflow):
        return pickle.dumps(tree, protocol=protocol)


def storage_bytes(payload: Any) -> bytes:
    """What a network pickle nests for each tensor: a file in the older tensor format."""
    buffer = io.BytesIO()
    torch.save(payload, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def nested(tensor: Tensor, raw: bytes | None = None) -> Calls:
    """A tensor as network pickles hold it; ``raw`` in place of its bytes."""
    raw = storage_bytes(tensor.contiguous()._typed_storage()) if raw is None else raw
    storage = Calls(torch.storage._load_from_bytes, raw)
    size, stride = tuple(tensor.shape), tensor.contiguous().stride()
    return Calls(torch._utils._rebuild_tensor_v2, storage, 0, size, stride, False, OrderedDict())


def module(source: str = "", *, name: str = "Layer", **state: Any) -> Calls:
    """A torch module as NVIDIA's PyTorch networks are saved, with the source text of its class."""
    meta = {"type": "class", "version": 6, "module_src": source, "class_name": name, "state": state}
    return Calls(_reconstruct_persistent_obj, meta)


def torch_network(tensors: Mapping[str, Any], attributes: Mapping[str, Any] | None = None) -> Calls:
    """NVIDIA's PyTorch network of tensors by dotted names, with attributes of its modules as nested mappings."""
    attributes = attributes or {}
    inner = sorted({name.partition(".")[0] for name in tensors if "." in name})
    modules = {
        key: torch_network(
            {name[len(key) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{key}.")},
            attributes.get(key, {}),
        )
        for key in inner
    }
    own = {name: nested(t) if isinstance(t, Tensor) else t for name, t in tensors.items() if "." not in name}
    plain = {key: value for key, value in attributes.items() if key not in inner and key != "class_name"}
    name = attributes.get("class_name", "Layer")
    return module(name=name, _parameters=own, _buffers={}, _modules=modules, **plain)


def tensorflow_network(name: str, variables: Mapping[str, Tensor], declared: Mapping[str, Any] | None = None) -> Any:
    """NVIDIA's TensorFlow network: variables by name with slashes, those of mapping and synthesis in components."""
    declared = declared or {}
    parts = [part for part in ("mapping", "synthesis") if any(key.startswith(f"{part}/") for key in variables)]
    components = {
        part: tensorflow_network(
            f"G_{part}",
            {key[len(part) + 1 :]: value for key, value in variables.items() if key.startswith(f"{part}/")},
            declared.get(part),
        )
        for part in parts
    }
    own = [(key, value.numpy()) for key, value in variables.items() if key.partition("/")[0] not in parts]
    network = Network()
    network.__dict__.update(
        version=4,
        name=name,
        static_kwargs=dict(declared.get("static_kwargs", {})),
        build_module_src="",
        build_func_name="G_main",
        variables=own,
        components=components,
    )
    return network


def _reference(plugin: str, name: str) -> Any:
    """One of the references beside the plugins' tests."""
    key = f"foreign_{name}"
    if key not in sys.modules:
        spec = importlib.util.spec_from_file_location(key, HERE / "plugins" / plugin / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[key] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[key])
    return sys.modules[key]


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def _stylegan2(classes: int = 0, joint: bool = False) -> tuple[Any, Any, dict[str, Tensor]]:
    reference = _reference("stylegan", "stylegan2_reference")
    net = reference.Net(widths=(4, 3), z_dim=3, w_dim=4, hidden=5, layers=2, classes=classes, label_dim=3, joint=joint)
    return reference, net, reference.weights(net)


def _stylegan1() -> tuple[Any, Any, dict[str, Tensor]]:
    reference = _reference("stylegan", "stylegan1_reference")
    net = reference.Net(widths=(4, 3), z_dim=3, w_dim=4, hidden=5, layers=2)
    return reference, net, reference.weights(net)


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _save(path: Path, content: Any, *, older: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not older)
    return path


def nvlabs(folder: Path) -> Path:
    """stylegan2-ada-pytorch's pickle of G, D and G_ema, with labels."""
    reference, net, tensors = _stylegan2(classes=2)
    networks = {key: torch_network(tensors, reference.metadata(net)) for key in ("G", "G_ema")}
    tree = {
        **networks,
        "D": torch_network({"b4.fc.weight": torch.ones(2, 2)}),
        "training_set_kwargs": {"path": "x.zip"},
    }
    return _write(folder / "network.pkl", dumps(tree))


def _tensorflow(path: Path, tensors: dict[str, Tensor], declared: dict[str, Any], **options: Any) -> Path:
    discriminator = tensorflow_network("D", {"4x4/Dense0/weight": torch.ones(2, 2)})
    networks = [tensorflow_network(name, tensors, declared) for name in ("G", "Gs")]
    return _write(path, dumps((networks[0], discriminator, networks[1]), **options))


def stylegan2_tensorflow(folder: Path) -> Path:
    """stylegan2's pickle."""
    reference, net, tensors = _stylegan2()
    declared = {"static_kwargs": {"resolution": net.resolution, "mapping_layers": net.layers}}
    return _tensorflow(folder / "network.pkl", reference.as_tensorflow(net, tensors), declared)


def stylegan1_tensorflow(folder: Path) -> Path:
    """stylegan's pickle, by Python 2's protocol."""
    reference, net, tensors = _stylegan1()
    return _tensorflow(folder / "network.pkl", tensors, reference.declared(net), protocol=2)


def pggan_tensorflow(folder: Path) -> Path:
    """progressive_growing_of_gans' pickle, in which the class lies elsewhere."""
    tensors = _reference("pggan", "pggan_reference").tensorflow_weights(8, widths=(4, 3), inputs=3)
    return _tensorflow(folder / "network.pkl", tensors, {}, protocol=2, tensorflow="tfutil")


def rosinality(folder: Path, *, older: bool = False) -> Path:
    """rosinality's file, with the training's options."""
    reference, net, tensors = _stylegan2()
    content = {"g_ema": reference.as_rosinality(net, tensors), "latent_avg": tensors["mapping.w_avg"], "iter": 7}
    return _save(folder / "checkpoint.pt", content, older=older)


def stylegan2_genforce(folder: Path) -> Path:
    """genforce's file of a StyleGAN2."""
    reference, net, tensors = _stylegan2(classes=2, joint=True)
    return _save(folder / "checkpoint.pth", {"generator_smooth": reference.as_genforce(net, tensors)})


def stylegan1_genforce(folder: Path) -> Path:
    """genforce's file of a StyleGAN1."""
    reference, net, tensors = _stylegan1()
    return _save(folder / "checkpoint.pth", {"generator_smooth": reference.as_genforce(net, tensors)})


def pggan_genforce(folder: Path) -> Path:
    """genforce's file of a PGGAN."""
    tensors = _reference("pggan", "pggan_reference").genforce_weights(widths=(4, 3), inputs=3)
    return _save(folder / "checkpoint.pth", {"generator_smooth": tensors})


def safetensors(folder: Path) -> Path:
    """The weights of a StyleGAN2 as somebody exported them."""
    reference, net, tensors = _stylegan2()
    named = _prefixed("generator_smooth.", reference.as_genforce(net, tensors))
    save_file({name: tensor.contiguous() for name, tensor in named.items()}, folder / "weights.safetensors")
    return folder / "weights.safetensors"


def gs_gm(folder: Path) -> Path:
    """The three files of the paper's own layout."""
    reference, net, tensors = _stylegan1()
    synthesis, mapping = reference.as_gs_gm(net, tensors)
    _save(folder / "Gs_dict.pth", synthesis)
    _save(folder / "Gm_dict.pth", mapping)
    _save(folder / "center_tensor.pt", tensors["dlatent_avg"].expand(2 * len(net.widths), -1).contiguous())
    return folder


def biggan(folder: Path) -> Path:
    """pytorch-pretrained-BigGAN's two files."""
    reference = _reference("biggan", "biggan_reference")
    small = {"output_dim": 8, "channel_width": 4, "z_dim": 3, "class_embed_dim": 3, "num_classes": 2, "n_stats": 3}
    config = {**reference.CONFIG, **small, "layers": [[False, 4, 4], [True, 4, 1]], "attention_layer_position": 1}
    (folder / "config.json").write_text(json.dumps(config))
    _save(folder / "pytorch_model.bin", reference.Net(config).state_dict())
    return folder


def encoder_of_the_authors(folder: Path) -> Path:
    """An encoder file of the paper's authors: two blocks, 8x8."""
    out = {"FromRGB.from_rgb.weight": torch.ones(3, 3, 1, 1), "FromRGB.from_rgb.bias": torch.ones(3)}
    for index, (channels, after) in enumerate([(3, 4), (4, 4)]):
        last = index == 1
        shapes = {"conv_1.weight": (channels, channels, 3, 3), "bias_1": (1, channels, 1, 1)}
        shapes["noise_weight_1"] = (1, channels, 1, 1)
        for head in (1, 2):
            shapes |= {f"inver_mod{head}.weight": (5, 2 * channels), f"inver_mod{head}.bias": (5,)}
        if not last:
            shapes |= {"conv_2.weight": (after, channels, 3, 3), "conv_3.weight": (after, channels, 1, 1)}
            shapes |= {"bias_2": (1, after, 1, 1), "noise_weight_2": (1, after, 1, 1), "conv_3.bias": (after,)}
        out |= {f"decode_block.{index}.{key}": torch.ones(shape) for key, shape in shapes.items()}
    return _save(folder / "encoder.pth", out)


def model_folder(folder: Path) -> Path:
    """A generator as we save it, with its encoder."""
    generator = build_generator(pggan_spec((8, 8), {4: 4, 8: 3}, z_dim=3))
    generator.save_pretrained(folder)
    build_encoder(generator).save_pretrained(folder / "encoder")
    return folder


def encoder_folder(folder: Path) -> Path:
    """An encoder as we save it."""
    return model_folder(folder) / "encoder"


FORMATS: dict[str, Callable[[Path], Path]] = {
    "nvlabs": nvlabs,
    "stylegan2-tensorflow": stylegan2_tensorflow,
    "stylegan1-tensorflow": stylegan1_tensorflow,
    "pggan-tensorflow": pggan_tensorflow,
    "rosinality": rosinality,
    "rosinality-older": lambda folder: rosinality(folder, older=True),
    "stylegan2-genforce": stylegan2_genforce,
    "stylegan1-genforce": stylegan1_genforce,
    "pggan-genforce": pggan_genforce,
    "safetensors": safetensors,
    "gs-gm": gs_gm,
    "biggan": biggan,
    "encoder-of-the-authors": encoder_of_the_authors,
    "model-folder": model_folder,
    "encoder-folder": encoder_folder,
}
"""Writes each format into a folder; returns what a user would name."""


def sources(folder: Path) -> dict[str, Path]:
    """Write every format, each into a folder of its own."""
    found = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name, write in FORMATS.items():
            (folder / name).mkdir(parents=True)
            found[name] = write(folder / name)
    return found
