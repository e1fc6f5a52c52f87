"""The public releases of StyleGAN1 and StyleGAN2, against the numbers that were published with them."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
from ganenc_plugin_stylegan.releases import RELEASES
from ganenc_registry.specs import EncoderSpec, Map, Noise, Release, Styles
from release_checks import check_release, parameters

CONFIG_E = {4: 512, 8: 512, 16: 512, 32: 512, 64: 256, 128: 128, 256: 64, 512: 32, 1024: 16}
CONFIG_F = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}


def release(name: str) -> Release:
    return check_release(RELEASES, name)


@pytest.mark.parametrize("name", RELEASES.names())
def test_every_release_is_sound(name: str) -> None:
    spec = release(name).generator
    styles, const, noise = spec.layout
    assert isinstance(styles, Styles)
    assert isinstance(const, Map)
    assert isinstance(noise, Noise)
    assert (styles.dim, spec.prior.dim, const.shape) == (512, 512, (512, 4, 4))
    assert styles.layers == {32: 8, 256: 14, 512: 16, 1024: 18}[spec.resolution]
    assert len(noise.shapes) == styles.layers - (spec.family == "stylegan2")
    widths = CONFIG_E if spec.family == "stylegan1" else CONFIG_F
    assert spec.resolution_channels == {side: width for side, width in widths.items() if side <= spec.resolution}
    assert spec.options["mapping_layers"] == (2 if "cifar10" in name else 8)
    assert spec.classes == (10 if name == "stylegan2-ada-cifar10-32" else 0)
    assert spec.truncation == "styles"


def test_the_releases_are_those_that_were_published() -> None:
    assert {name.rpartition("-")[0]: name.rpartition("-")[2] for name in RELEASES.names()} == {
        "stylegan1-bedroom": "256",
        "stylegan1-car": "512",
        "stylegan1-cat": "256",
        "stylegan1-celebahq": "1024",
        "stylegan1-ffhq": "1024",
        "stylegan2-car": "512",
        "stylegan2-cat": "256",
        "stylegan2-church": "256",
        "stylegan2-ffhq": "1024",
        "stylegan2-horse": "256",
        "stylegan2-ada-afhqcat": "512",
        "stylegan2-ada-afhqdog": "512",
        "stylegan2-ada-afhqwild": "512",
        "stylegan2-ada-brecahad": "512",
        "stylegan2-ada-cifar10": "32",
        "stylegan2-ada-cifar10-unconditional": "32",
        "stylegan2-ada-ffhq": "1024",
        "stylegan2-ada-metfaces": "1024",
    }


def test_stylegan1_has_as_many_weights_as_nvidia_printed() -> None:
    """26,219,627 in all (README of NVlabs/stylegan), the image layers of the smaller sizes included."""
    smaller = sum(3 * width + 3 for side, width in CONFIG_E.items() if side < 1024)
    assert parameters(release("stylegan1-ffhq-1024")) + smaller == 26_219_627


def test_stylegan2_has_as_many_weights_as_its_layers_take() -> None:
    """Weight, bias, style and noise of each layer (Karras et al., 2020, Figure 2), summed by hand."""

    def affine(width: int) -> int:
        return 512 * width + width

    widths = list(CONFIG_F.values())
    convolutions = [(512, 512)]
    for inputs, outputs in itertools.pairwise(widths):
        convolutions += [(inputs, outputs), (outputs, outputs)]
    mapping = 8 * (512 * 512 + 512)
    layers = sum(9 * a * b + b + affine(a) + 1 for a, b in convolutions)
    images = sum(3 * a + 3 + affine(a) for a in widths)
    expected = mapping + 512 * 4 * 4 + layers + images
    assert expected == 30_370_060
    assert parameters(release("stylegan2-ffhq-1024")) == expected
    assert parameters(release("stylegan2-ada-ffhq-1024")) == expected


def test_labels_make_the_conditional_mapping_wider() -> None:
    """Embedding 10 classes in 512 numbers, and a first layer that takes twice 512."""
    by_class, plain = (parameters(release(f"stylegan2-ada-cifar10{kind}-32")) for kind in ("", "-unconditional"))
    assert by_class - plain == 10 * 512 + 512 + 512 * 512


def test_the_encoder_of_1024_pixels_has_the_papers_eighteen_heads() -> None:
    for name in ("stylegan1-ffhq-1024", "stylegan2-ffhq-1024"):
        rows = EncoderSpec.mirror(release(name).generator).rows()
        assert sum(len(row.heads) for row in rows) == 18


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("stylegan1-ffhq-1024", "https://drive.google.com/uc?id=1MEGjdvVpUsu1jB4zrXZN7Y4kBBOzizDQ"),
        ("stylegan2-car-512", "https://nvlabs-fi-cdn.nvidia.com/stylegan2/networks/stylegan2-car-config-f.pkl"),
        (
            "stylegan2-ada-cifar10-unconditional-32",
            "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/paper-fig11b-cifar10/"
            "cifar10u-cifar-ada-best-fid.pkl",
        ),
        (
            "stylegan2-ada-metfaces-1024",
            "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metfaces.pkl",
        ),
    ],
)
def test_the_files_are_where_nvidia_put_them(name: str, url: str) -> None:
    (file,) = release(name).files
    assert file.url == url
    assert file.by_hand == name.startswith("stylegan1")
    assert file.name.endswith(".pkl")


def test_cars_say_that_their_photos_are_wide() -> None:
    for name in ("stylegan1-car-512", "stylegan2-car-512"):
        assert "512x384" in release(name).notes


SHOWN = """
import sys
from ganenc.cli import main
for words in (["list", "model"], ["spec", "stylegan2-ffhq-1024"], ["spec", "stylegan1"]):
    try:
        main(words)
    except SystemExit as ended:
        assert not ended.code, words
print(sorted({"torch", "numpy", "huggingface_hub"} & set(sys.modules)))
"""


def test_a_release_is_listed_and_shown_without_torch() -> None:
    done = subprocess.run([sys.executable, "-c", SHOWN], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = done.stdout
    for part in (
        "stylegan2-ffhq-1024",
        "FFHQ faces, 1024x1024, configuration F; Nvidia Source Code License-NC",
        "Release stylegan2-ffhq-1024, mirrored",
        "file stylegan2-ffhq-config-f.pkl, of unknown size, checksum unknown",
        "Generator stylegan1, as it was released as stylegan1-bedroom-256, mirrored",
    ):
        assert part in told
    assert told.endswith("[]\n")
