"""A GAN that scores, as a model of anomalib's (2.x), if that is installed: trained, tested and shown by its engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from ganenc_registry.errors import PluginError
from torch import Tensor, nn

from ganenc.images import convert_range, to_rgb
from ganenc.measures import FALSE_ALARMS, Calibration
from ganenc.model import Model, load

BASES: Any = (nn.Module,)
try:
    from anomalib import LearningType
    from anomalib.data import InferenceBatch
    from anomalib.models.components import AnomalibModule, MemoryBankMixin
    from anomalib.pre_processing import PreProcessor
    from torchvision.transforms.v2 import Resize

    BASES = (MemoryBankMixin, AnomalibModule)
except ImportError:
    """Which is told when one is made."""


class _Scores(nn.Module):
    """Images (N, C, H, W) from 0 to 1 => anomalib's batch of what `Model.score` says of them."""

    def __init__(self, model: Model, false_alarms: float, how: dict[str, Any]) -> None:
        super().__init__()
        self.gan, self.false_alarms, self.how = model, false_alarms, how
        self.seen: list[Tensor] = []
        self.calibration: Calibration | None = None

    def forward(self, images: Tensor) -> Any:
        scored = self.gan.score(self.read(images), self.calibration or self.seen, false_alarms=self.false_alarms)
        names = ("pred_score", "pred_label", "anomaly_map", "pred_mask")
        found = {name: getattr(scored, name).to(images.device) for name in names}
        return InferenceBatch(**{**found, "pred_score": found["pred_score"].float()})

    def read(self, images: Tensor) -> list[Tensor]:
        """Images as the generator takes them."""
        spec = self.gan.generator.spec
        images = to_rgb(images) if spec.channels == 3 else images.mean(1, keepdim=True)
        return [*convert_range(images.detach().cpu(), (0.0, 1.0), spec.value_range)]


class GanScore(*BASES):  # type: ignore[misc]
    """`Model.score` for anomalib's engine: it is calibrated by the images that the engine trains on, which training the
    GAN is to have left out, and decides by their share of ``false_alarms``. ``post_processor=True`` takes anomalib's
    own thresholds instead. ``model`` is what `ganenc.load` takes, ``how`` what `Model.calibrate` does."""

    def __init__(
        self,
        model: str | Path,
        *,
        false_alarms: float = FALSE_ALARMS,
        how: dict[str, Any] | None = None,
        pre_processor: Any = True,
        post_processor: Any = False,
        evaluator: Any = True,
        visualizer: Any = True,
    ) -> None:
        if len(BASES) < 2:
            raise PluginError('A model for anomalib takes anomalib: run `pip install "ganenc[anomalib]"`.')
        loaded = load(model)
        if pre_processor is True:
            pre_processor = PreProcessor(transform=Resize(loaded.generator.spec.size, antialias=True))
        super().__init__(
            pre_processor=pre_processor, post_processor=post_processor, evaluator=evaluator, visualizer=visualizer
        )
        self.model = _Scores(loaded, false_alarms, dict(how or {}))

    def training_step(self, batch: Any, *_: Any, **__: Any) -> Tensor:
        """Keep normal images."""
        self.model.seen += self.model.read(batch.image)
        return torch.tensor(0.0, requires_grad=True, device=self.device)

    def fit(self) -> None:
        """Calibrate by those that were kept."""
        self.model.calibration = self.model.gan.calibrate(self.model.seen, **self.model.how)
        self.model.seen.clear()

    def validation_step(self, batch: Any, *_: Any, **__: Any) -> Any:
        """Score a batch."""
        return batch.update(**self.model(batch.image)._asdict())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the calibration with it."""
        super().on_save_checkpoint(checkpoint)
        known = self.model.calibration
        checkpoint["calibration"] = None if known is None else known.to_mapping()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it from there."""
        super().on_load_checkpoint(checkpoint)
        known = checkpoint.get("calibration")
        self.model.calibration = None if known is None else Calibration.from_mapping(known)

    def configure_optimizers(self) -> None:
        """None: nothing is trained."""

    @property
    def trainer_arguments(self) -> dict[str, Any]:
        """One pass over the images."""
        return {"max_epochs": 1, "val_check_interval": 1.0, "num_sanity_val_steps": 0, "devices": 1}

    @property
    def learning_type(self) -> Any:
        """Of normal images alone."""
        return LearningType.ONE_CLASS
