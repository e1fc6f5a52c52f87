"""VGG16, AlexNet and SqueezeNet from torchvision, with the linear weights of the lpips package (Zhang et al., 2018)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from ganenc_registry.components import Context
from ganenc_registry.errors import CheckpointError
from ganenc_registry.opening import open_file
from ganenc_registry.specs import Spec
from torch import Tensor, nn

from ganenc.objectives.backbones.base import Backbone, BackboneOutput
from ganenc.objectives.backbones.loading import checkpoint_path, fetch


class ImageNetBackbone(Backbone):
    """A torchvision classifier of the 1,000 ImageNet classes, its layers cut where lpips cuts them.

    ``state`` holds the weights by torchvision's names; by default those that it publishes, from torch's cache or its
    site. It raises `WeightsMissingError` if they cannot be had, `CheckpointError` if their file is broken.
    """

    classes = 1000
    architecture: ClassVar[str]
    """The name of the network in torchvision."""
    url: ClassVar[str]
    """Where torchvision publishes the weights."""
    cuts: ClassVar[tuple[int, ...]]
    """The ends of the slices of ``features`` whose outputs LPIPS compares."""
    convolution: ClassVar[int]
    """The index in ``features`` of the last convolution."""
    linear_file: ClassVar[str]
    """The file of the linear weights in the lpips package."""

    def __init__(
        self, options: Spec | None = None, context: Context | None = None, *, state: Mapping[str, Tensor] | None = None
    ) -> None:
        from lpips import ScalingLayer  # Takes seconds, as torchvision does; other backbones do without.
        from torchvision import models

        super().__init__(options, context)
        source = "the weights given" if state is not None else str(checkpoint_path(self.url))
        if state is None:
            state = _read(fetch(self.url, self.name))
        with torch.device("meta"):
            model = getattr(models, self.architecture)(weights=None)
        try:
            model.load_state_dict(dict(state), strict=True, assign=True)
        except (RuntimeError, KeyError) as error:
            reason = str(error).splitlines()[-1].strip()
            raise CheckpointError(f"{source} do not fit {self.architecture}: {reason}") from None
        self.features: nn.Sequential = model.features
        model.features = nn.Identity()
        self.tail = model
        # Not as a second submodule, which would hold its weights twice in the state.
        object.__setattr__(self, "last_convolution", self.features[self.convolution])
        for module in self.features[self.convolution + 1 :]:
            if isinstance(module, nn.ReLU):
                module.inplace = False  # Grad-CAM reads the maps before it.
        self.scaling = ScalingLayer()  # ImageNet's mean and deviation on the scale from -1 to 1, to three digits.
        self.freeze()

    @classmethod
    def available(cls) -> bool:
        return checkpoint_path(cls.url).is_file()

    def forward(self, images: Tensor) -> BackboneOutput:
        """The outputs of the slices, and the logits (N, 1000) if they are read."""
        maps: Tensor = self.scaling(images)
        features: list[Tensor] = []
        for start, end in itertools.pairwise((0, *self.cuts)):
            maps = self.features[start:end](maps)
            features.append(maps)

        def finish() -> Tensor:
            logits: Tensor = self.tail(self.features[self.cuts[-1] :](maps))
            return logits

        return BackboneOutput(features, finish)

    def linear_weights(self) -> list[Tensor]:
        """The weights of the lpips package, version 0.1, one vector (C,) for each feature."""
        import lpips

        state = _read(Path(lpips.__file__).parent / "weights" / "v0.1" / self.linear_file)
        found = [state[f"lin{index}.model.1.weight"].flatten() for index in range(len(self.cuts))]
        return [weight.to(self.scaling.scale.device) for weight in found]


class Vgg16(ImageNetBackbone):
    """VGG16 (Simonyan and Zisserman, 2014), the backbone of the paper (section 3.2)."""

    name = "vgg16"
    architecture = "vgg16"
    url = "https://download.pytorch.org/models/vgg16-397923af.pth"
    cuts = (4, 9, 16, 23, 30)
    convolution = 28
    linear_file = "vgg.pth"


class Alex(ImageNetBackbone):
    """AlexNet (Krizhevsky, 2014), the backbone that lpips recommends for measuring."""

    name = "alex"
    architecture = "alexnet"
    url = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
    cuts = (2, 5, 8, 10, 12)
    convolution = 10
    linear_file = "alex.pth"


class Squeeze(ImageNetBackbone):
    """SqueezeNet 1.1 (Iandola et al., 2016), the smallest of the three; Grad-CAM takes its last Fire module."""

    name = "squeeze"
    architecture = "squeezenet1_1"
    url = "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth"
    cuts = (2, 5, 8, 10, 11, 12, 13)
    convolution = 12
    linear_file = "squeeze.pth"


def _read(path: Path) -> dict[str, Tensor]:
    """Read a file of tensors, as data alone."""
    try:
        with open_file(path) as file:
            state: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # Broken archives raise many kinds; all of them mean this one thing.
        reason = str(error).splitlines()[0].strip() if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is broken ({reason}); delete it and fetch it again.") from None
    return state
