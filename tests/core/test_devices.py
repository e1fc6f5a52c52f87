"""Work on a second device stays there, comes to the numbers of the CPU, and does not wait for them at every turn."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from devices import DEVICE, SecondDevice, second_device
from ganenc.editing import drag, explain, find_by_pca
from ganenc.inversion import Encode, Finetune, FinetuneRefine, Inverter, Newton, Optimize, Tune, invert
from ganenc.measures import PSNR, SSIM
from ganenc.training import Synthesized
from ganenc_registry.components import Context
from rounding import close
from runs import run_spec, trainer, weights
from torch import Tensor, nn
from toys import ToyConditional, ToyGenerator, make_objective, small_encoder, toy_spec

LOSSES = {"mse": 5.0, "cos": 3.0, "ssim": 1.0}
STEPS = 3


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[SecondDevice]:
    monkeypatch.setattr("ganenc.objectives.adam.FUSED", ())  # Near 0, Adam makes much of how a gradient is rounded.
    with second_device() as made:
        yield made


def test_it_refuses_what_lies_elsewhere(device: SecondDevice) -> None:
    here, there = torch.ones(3), torch.ones(3, device=DEVICE)
    mixed = [lambda: here * there, lambda: torch.where(there > 0, there, here), lambda: here[there.long()]]
    for mix in (*mixed, lambda: torch.stack([there[0], torch.tensor(2.0)])):
        with pytest.raises(RuntimeError, match="same device"):
            mix()
    with pytest.raises(RuntimeError, match="same device"):
        torch.randn(3, device=DEVICE, generator=torch.Generator())
    assert (there * torch.tensor(2.0)).device == there[torch.tensor([0])].device == DEVICE


def test_it_counts_what_is_waited_for(device: SecondDevice) -> None:
    there = torch.arange(3.0).to(DEVICE)
    looks = [there.tolist, there.cpu, there[0].item, there.any().__bool__, lambda: torch.zeros(3).copy_(there)]
    looks += [lambda: there[there > 1], lambda: there[[0, 1]], lambda: torch.svd_lowrank(there[None], 1)]
    for count, wait in enumerate([*looks, lambda: torch.linalg.solve(there.diag() + 1, there)], 2):
        wait()
        assert device.waits == count
    torch.cat([there.double() + 1, there.new_zeros(2), torch.zeros(2, device=DEVICE)]).flip(0)[1:3].add_(1)
    assert device.waits == count


def test_it_has_the_numbers_and_gradients_of_the_cpu(device: SecondDevice) -> None:
    module, given = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2)), []
    for one in (module, copy.deepcopy(module).to(DEVICE)):
        images = torch.linspace(-1, 1, 96).reshape(2, 3, 4, 4).to(one[0].weight.device).requires_grad_()
        made = images * 2
        made[:, 1:].mul_(3)  # In place, through a view.
        one(made).square().sum().backward()
        torch.optim.SGD(one.parameters(), lr=0.1).step()
        given.append([images.grad, one[1].running_mean, *one.parameters()])
    assert {one.device for one in given[1]} == {DEVICE}
    assert all(torch.equal(one, other.cpu()) for one, other in zip(*given, strict=True))


def at_each_step(device: SecondDevice) -> tuple[list[int], Any]:
    """How often was waited until the end of each step, and what is to be told of steps."""
    seen: list[int] = []
    return seen, lambda *_: seen.append(device.waits)


METHODS: Mapping[str, tuple[Inverter, int]] = {
    "encode": (Encode.of(), 0),
    "optimize": (Optimize.of(steps=STEPS), 0),
    "optimize-from-draws": (Optimize.of(steps=STEPS, start="draws", draws=8, free=["const", "noise"]), 0),
    "optimize-held": (Optimize.of(steps=STEPS, prior=0.1, whiten=True), 0),
    "finetune": (Finetune.of(steps=STEPS, batch=2), 0),
    "finetune+refine": (FinetuneRefine.of(steps=STEPS, share=0.5, batch=2), 1),
    "newton": (Newton.of(steps=STEPS), 0),
    "tune": (Tune.of(steps=STEPS, pivot={"name": "newton", "options": {"steps": 1}}, together=True), 1),
}
"""And how often it is waited between steps: where another part begins, and never within one."""


@pytest.mark.parametrize("name", METHODS)
def test_inverting_stays_on_its_device(name: str, toy: Any, device: SecondDevice) -> None:
    inverter, changes = METHODS[name]
    encoder, objective, images = small_encoder(toy), make_objective(LOSSES, "center"), toy.synthesize(toy.sample(2))
    wanted = inverter.invert(images, toy, encoder, objective=objective)
    there = [copy.deepcopy(one).to(DEVICE) for one in (toy, encoder, objective)]
    images, (seen, tell) = images.to(DEVICE), at_each_step(device)
    found = inverter.invert(images, *there[:2], objective=there[2], on_step=tell)
    assert {one.device for one in (found.reconstructions, *found.latents.tensors.values())} == {DEVICE}
    assert {one.device for tuning in found.tuning for one in tuning.values()} <= {DEVICE}
    for part, one in found.latents.tensors.items():
        close(one.cpu(), wanted.latents[part], terms=36, depth=10 * STEPS)
    close(found.reconstructions.cpu(), wanted.reconstructions, terms=36, depth=10 * STEPS)
    assert sum(after > before for before, after in pairwise(seen)) <= changes


def test_dragging_looks_once_a_step(device: SecondDevice) -> None:
    toy = ToyGenerator(toy_spec(dim=4))
    (seen, tell), latents, places = at_each_step(device), toy.sample(1), ([[4, 4], [9, 3]], [[12, 10], [3, 3]])
    wanted = drag(toy, latents, *places, steps=STEPS)
    found = drag(copy.deepcopy(toy).to(DEVICE), latents.to(DEVICE), *places, steps=STEPS, on_step=tell)
    assert found.latents["w"].device == DEVICE
    close(found.latents["w"].cpu(), wanted.latents["w"], terms=36, depth=10 * STEPS)
    assert [after - before for before, after in pairwise(seen)] == [1] * (STEPS - 1)


def test_explaining_looks_once_at_some_images_and_brings_a_direction(device: SecondDevice) -> None:
    toy, asked = ToyGenerator(toy_spec((8, 8), dim=4)), list[int]()
    way, latents = find_by_pca(toy, 1, n=64), toy.sample(1, seed=3)

    def dark(images: Tensor) -> Tensor:
        asked.append(device.waits)
        return -20 * images.mean((1, 2, 3))[:, None]

    wanted, found = (
        explain(one, latents, dark, 1, probability=0.5, directions=way, steps=1, random=24)
        for one in (toy, copy.deepcopy(toy).to(DEVICE))
    )
    assert found.flipped
    assert {one.device for one in found.latents.tensors.values()} == {DEVICE}
    close(found.latents["w"].cpu(), wanted.latents["w"], terms=36, depth=10 * found.facts["passes"])
    assert (found.facts["passes"], found.random) == (wanted.facts["passes"], wanted.random)
    # Of random changes, 8 at once: whether logits, and how far the direction is followed, are finite, and that itself.
    assert [after - before for before, after in pairwise(asked[-3:])] == [3, 3]


def test_steps_through_an_operator_wait_once_to_tell_photos_apart(toy: Any, device: SecondDevice) -> None:
    (seen, tell), images = at_each_step(device), toy.synthesize(toy.sample(2))
    how = {"method": Newton.of(steps=STEPS, start="draws", draws=4), "objective": make_objective(LOSSES)}
    wanted = invert(images, toy, operator="grey", **how)
    found = invert(images.to(DEVICE), copy.deepcopy(toy).to(DEVICE), operator="grey", **how, on_step=tell)
    close(found.reconstructions.cpu(), wanted.reconstructions, terms=36, depth=10 * STEPS)
    assert [after - before for before, after in pairwise(seen)] == [1] * (STEPS - 1)


@pytest.mark.parametrize("made", [lambda: ToyGenerator(toy_spec((8, 8), dim=4)), ToyConditional])
def test_components_are_found_without_waiting_for_each_batch(made: Any, device: SecondDevice) -> None:
    toy, waits = made(), []
    there = copy.deepcopy(toy).to(DEVICE)
    for n in (64, 128):
        before = device.waits
        found = find_by_pca(there, 2, n=n)
        waits.append(device.waits - before)
    for one, other in zip(found, find_by_pca(toy, 2, n=128), strict=True):
        for part, way in other.tensors.items():
            close(one.tensors[part], way, terms=128, depth=10)
    assert waits[0] == waits[1]


@pytest.mark.parametrize(("metric", "waits"), [(PSNR, 1), (SSIM, 2)])
def test_metrics_look_once_at_some_images(metric: Any, waits: int, device: SecondDevice) -> None:
    a, b = torch.rand(2, 3, 3, 8, 8)
    there = a.to(DEVICE), b.to(DEVICE)
    before = device.waits
    assert metric(context=Context(device=DEVICE.type))(*there) == metric()(a, b)
    assert device.waits - before == waits


@pytest.mark.parametrize("made", [ToyGenerator, ToyConditional])
@pytest.mark.parametrize(("samples", "brought"), [(0, 1), (5, 3)])
def test_synthesized_batches_are_made_there(made: Any, samples: int, brought: int, device: SecondDevice) -> None:
    """Draws are brought, together, or one by one where they are of some samples."""
    toy = made()
    there = copy.deepcopy(toy).to(DEVICE)
    wanted = Synthesized(toy, 3, seed=1, samples=samples).batch(1)
    before = device.waits
    found = Synthesized(there, 3, seed=1, samples=samples).batch(1)
    assert device.waits - before == brought * (2 if wanted.labels is not None else 1)
    assert wanted.latents is not None
    assert found.latents is not None
    assert {one.device for one in (found.images, *found.latents.tensors.values())} == {DEVICE}
    close(found.images.cpu(), wanted.images, terms=36, depth=10)
    if wanted.labels is not None and found.labels is not None:
        assert found.labels.device == DEVICE
        assert torch.equal(found.labels.cpu(), wanted.labels)


def test_training_brings_the_draws_of_a_step_and_no_more(toy: Any, device: SecondDevice, tmp_path: Path) -> None:
    every = {"checkpoint_every": STEPS, "log_every": STEPS, "grid_every": STEPS}
    run = run_spec(steps=STEPS, objective={"losses": LOSSES, "attention": "center"}, saving=every)
    wanted = weights(trainer(run, tmp_path / "here", toy, small_encoder(toy))[0].train())
    made, _ = trainer(run, tmp_path / "there", toy.to(DEVICE), small_encoder(toy).to(DEVICE))
    seen, tell = at_each_step(device)
    made.recipe.optimisers["encoder"].register_step_post_hook(tell)
    found = weights(made.train())
    assert found.device == DEVICE
    close(found.cpu(), wanted, terms=36, depth=10 * STEPS)
    assert [after - before for before, after in pairwise(seen)][1:] == [1] * (STEPS - 2)
