"""Cross-validation of fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ganenc.encoders import Encoder
from ganenc.inversion import invert
from ganenc.measures import build_metrics, default_metrics, psnr, split_folds
from ganenc.models import load_encoder
from ganenc.training import crossval, data, entry
from ganenc_registry.components import Context
from ganenc_registry.errors import SpecError, TrainingError
from runs import run_spec, weights
from torch import Tensor
from toys import ToyColours, small_encoder

COUNT = 5


@pytest.fixture
def photos() -> Tensor:
    return torch.rand(COUNT, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_every_photo_is_rebuilt_by_an_encoder_that_never_saw_it(
    toy: Any, toy_encoder: Encoder, photos: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []

    class Watched(data.Photos):
        def __init__(self, photos: Tensor, *rest: Any, **more: Any) -> None:
            seen.append(photos)
            super().__init__(photos, *rest, **more)

    monkeypatch.setattr(entry, "Photos", Watched)
    run = run_spec(task="finetune", steps=2, seed=3)
    before = weights(toy_encoder)
    found = crossval(toy, photos, run, tmp_path, folds=2, encoder=toy_encoder, metrics=build_metrics(["psnr"]))
    assert torch.equal(weights(toy_encoder), before)
    parts = split_folds(COUNT, 2, seed=3)
    means = []
    for index, held in enumerate(parts):
        others = [place for place in range(COUNT) if place not in held]
        assert torch.equal(seen[index], photos[others])
        trained = load_encoder(tmp_path / f"fold-{index:02d}" / "encoder")
        assert not torch.equal(weights(trained), before)
        made = invert(photos[held], toy, trained, method="encode").reconstructions
        wanted = psnr(photos[held], made)
        assert [found.rows[place]["psnr"] for place in held] == pytest.approx(wanted, abs=1e-3)
        means.append(np.mean(wanted))
    assert found.table() == {"psnr": pytest.approx((np.mean(means), np.std(means, ddof=1)), abs=1e-3)}


def test_labels_go_with_their_photos(photos: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = ToyColours().freeze()
    labels = torch.arange(COUNT) % 4
    given: list[list[int]] = []

    class Watched(data.Photos):
        def __init__(self, photos: Tensor, batch: int, *, labels: Tensor, **more: Any) -> None:
            given.append(labels.tolist())
            super().__init__(photos, batch, labels=labels, **more)

    monkeypatch.setattr(entry, "Photos", Watched)
    run = run_spec(task="finetune", steps=1)
    options = {"folds": 2, "encoder": small_encoder(generator), "metrics": build_metrics(["psnr"])}
    found = crossval(generator, photos, run, tmp_path / "a", labels=labels, **options)
    parts = split_folds(COUNT, 2)
    assert given == [[labels[place].item() for place in range(COUNT) if place not in held] for held in parts]
    other = crossval(generator, photos, run, tmp_path / "b", labels=labels.flip(0), **options)
    assert found.rows != other.rows
    with pytest.raises(TrainingError, match="5 photos and 2 labels"):
        crossval(generator, photos, run, tmp_path / "c", labels=labels[:2], **options)


def test_there_are_photos_for_every_fold(
    toy: Any, toy_encoder: Encoder, photos: Tensor, tmp_path: Path, tiny_backbone: Any
) -> None:
    with pytest.raises(SpecError, match="5 images do not go into 6 folds"):
        crossval(toy, photos, run_spec(task="finetune"), tmp_path, folds=6, encoder=toy_encoder)
    sets = build_metrics(default_metrics(), Context(load_backbone=lambda: tiny_backbone))
    with pytest.raises(SpecError, match="a metric takes 2 or more"):
        crossval(toy, photos, run_spec(task="finetune"), tmp_path, folds=3, encoder=toy_encoder, metrics=sets)
    assert not list(tmp_path.iterdir())
