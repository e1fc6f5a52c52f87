"""Sources give the batch of any step from the seed and the step alone."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from ganenc.objectives import Batch
from ganenc.training import Mixture, Photos, Synthesized
from ganenc.training.data import places_of
from ganenc_registry.errors import TrainingError
from torch import Tensor
from toys import ToyConditional


def numbered(count: int) -> Tensor:
    """Photos that say which one they are."""
    return torch.arange(float(count)).reshape(-1, 1, 1, 1).expand(-1, 3, 8, 8)


def places(batch: Batch) -> list[int]:
    return [int(value) for value in batch.images[:, 0, 0, 0]]


def same(one: Batch, other: Batch) -> bool:
    latents = one.latents is None and other.latents is None
    if one.latents is not None and other.latents is not None:
        latents = all(torch.equal(tensor, other.latents[name]) for name, tensor in one.latents.tensors.items())
    labels = one.labels is other.labels is None or torch.equal(one.labels, other.labels)  # type: ignore[arg-type]
    return latents and labels and torch.equal(one.images, other.images)


@pytest.mark.parametrize("samples", [0, 5])
def test_synthesized_batches_know_no_past(toy: Any, samples: int) -> None:
    source = Synthesized(toy, 3, seed=1, samples=samples)
    forwards = [source.batch(step) for step in range(4)]
    backwards = [Synthesized(toy, 3, seed=1, samples=samples).batch(step) for step in (3, 2, 1, 0)]
    assert all(same(one, other) for one, other in zip(forwards, reversed(backwards)))
    assert not same(forwards[0], forwards[1])
    assert not same(forwards[0], Synthesized(toy, 3, seed=2, samples=samples).batch(0))
    for batch in forwards:
        assert batch.latents is not None
        assert batch.labels is None
        assert torch.allclose(batch.images, toy.synthesize(batch.latents), atol=1e-6)
        assert not batch.images.requires_grad


def test_without_an_end_every_sample_is_a_new_one(toy: Any) -> None:
    source = Synthesized(toy, 4, seed=6)
    found = torch.cat([source.batch(step).images for step in range(3)])
    assert len(found.flatten(1).unique(dim=0)) == 12
    assert torch.allclose(found, toy.synthesize(toy.sample(12, seed=6)), atol=1e-6)


def test_a_set_of_samples_is_gone_through_in_a_new_order_each_time(toy: Any) -> None:
    source = Synthesized(toy, 4, seed=6, samples=6)
    everything = toy.synthesize(toy.sample(6, seed=6))
    seen = [
        int((everything - image).abs().flatten(1).amax(1).argmin())
        for step in range(6)
        for image in source.batch(step).images
    ]
    passes = [seen[first : first + 6] for first in range(0, 24, 6)]
    assert [sorted(order) for order in passes] == [list(range(6))] * 4
    assert len({tuple(order) for order in passes}) == 4


def test_truncation_and_labels_go_with_the_samples(toy: Any) -> None:
    near = Synthesized(toy, 2, truncation=0.0).batch(0)
    assert near.latents is not None
    assert torch.allclose(near.latents["w"], toy.mapping.bias.expand(2, 4, 4), atol=1e-6)
    generator = ToyConditional().freeze()
    for samples in (0, 7):
        source = Synthesized(generator, 3, samples=samples)
        batches = [source.batch(step) for step in range(4)]
        for batch in batches:
            assert batch.latents is not None
            assert batch.labels is not None
            assert batch.labels.shape == (3,)
            assert torch.equal(batch.latents["c"], generator.embed(batch.labels))
        assert len(torch.cat([batch.labels for batch in batches if batch.labels is not None]).unique()) > 1


def test_photos_come_in_passes_with_their_labels() -> None:
    source = Photos(numbered(5), 2, labels=torch.arange(5) * 10, seed=3)
    batches = [source.batch(step) for step in range(10)]
    seen = [place for batch in batches for place in places(batch)]
    assert [sorted(seen[first : first + 5]) for first in range(0, 20, 5)] == [list(range(5))] * 4
    assert len({tuple(seen[first : first + 5]) for first in range(0, 20, 5)}) > 1
    for batch in batches:
        assert batch.latents is None
        assert batch.labels is not None
        assert batch.labels.tolist() == [10 * place for place in places(batch)]
    again = Photos(numbered(5), 2, seed=3)
    assert places(again.batch(7)) == places(batches[7])
    assert again.batch(0).labels is None


def test_fewer_photos_than_a_batch_come_all_at_once() -> None:
    assert sorted(places(Photos(numbered(3), 8).batch(5))) == [0, 1, 2]


@pytest.mark.parametrize("labels", [torch.tensor([2]), torch.tensor([[0.0, 0.0, 1.0]])], ids=["number", "row"])
def test_one_label_serves_all(labels: Tensor) -> None:
    found = Photos(numbered(4), 3, labels=labels).batch(0).labels
    assert found is not None
    assert torch.equal(found, labels.expand(3, *labels.shape[1:]))


def test_photos_and_labels_that_do_not_fit_are_named() -> None:
    with pytest.raises(TrainingError, match="4 photos and 3 labels; give one each, or one for all"):
        Photos(numbered(4), 2, labels=torch.arange(3))
    with pytest.raises(TrainingError, match="no photos to fine-tune on"):
        Photos(numbered(0), 2)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.75, 1.0])
def test_a_mixture_keeps_its_share_and_skips_no_sample(toy: Any, share: float) -> None:
    photos, synthesized = Photos(numbered(5) + 100, 1, seed=2), Synthesized(toy, 1, seed=2)
    mixture = Mixture(photos, synthesized, share)
    batches = [mixture.batch(step) for step in range(40)]
    real = [batch for batch in batches if batch.latents is None]
    made = [batch for batch in batches if batch.latents is not None]
    assert abs(len(real) - 40 * share) <= 1
    assert all(same(batch, photos.batch(i)) for i, batch in enumerate(real))
    assert all(same(batch, synthesized.batch(i)) for i, batch in enumerate(made))
    for first in range(30):  # Spread evenly.
        window = [batch.latents is None for batch in batches[first : first + 10]]
        assert abs(sum(window) - 10 * share) <= 1


def test_orders_are_the_same_everywhere_and_always() -> None:
    # Recorded, so that a run goes on with the data that it began with, in another process and a later release.
    assert [places_of(9, 4, step, 5).tolist() for step in range(3)] == [[5, 7, 8, 6], [4, 3, 1, 2], [0, 1, 5, 7]]


def test_orders_are_fair() -> None:
    firsts = Counter(int(places_of(4, 1, 4 * turn, seed)[0]) for turn in range(50) for seed in range(8))
    assert min(firsts.values()) > 60
    assert places_of(3, 8, 0, 0).shape == (8,)
    assert Counter(places_of(3, 8, 0, 0).tolist()).most_common(1)[0][1] == 3
