"""The contract of a generator: draws, samples, means, and the defaults that families inherit."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest
import torch
from ganenc.generators import Generator, draw_normal
from ganenc.latents import Latents
from ganenc_registry.errors import GanencError, LatentsError, SpecError
from ganenc_registry.specs import GeneratorSpec, Prior, Styles, Vector
from rounding import close
from torch import Tensor
from toys import ToyConditional, ToyGenerator, toy_spec

NORMAL = NormalDist()


def test_draws_do_not_depend_on_how_they_are_batched() -> None:
    generator = ToyGenerator(toy_spec(classes=5))
    z, labels = generator.draw(10, seed=7), generator.draw_labels(10, seed=7)
    assert labels is not None
    for cut in (0, 3, 10):
        assert torch.equal(z, torch.cat([generator.draw(cut, seed=7), generator.draw(10 - cut, seed=7, first=cut)]))
        parts = [generator.draw_labels(cut, seed=7), generator.draw_labels(10 - cut, seed=7, first=cut)]
        assert torch.equal(labels, torch.cat([part for part in parts if part is not None]))
    whole = generator.sample(6, seed=7)
    parts = [generator.sample(2, seed=7), generator.sample(4, seed=7, first=2)]
    close(Latents.cat(parts)["w"], whole["w"], terms=6)


def test_seeds_and_places_give_different_draws_and_leave_the_global_state_alone() -> None:
    before = torch.get_rng_state()
    draws = [draw_normal(3, 4, seed=seed, first=first) for seed, first in ((0, 0), (1, 0), (0, 3), (2**64 - 1, 0))]
    assert torch.equal(torch.get_rng_state(), before)
    rows = torch.cat(draws)
    assert len(torch.unique(rows)) == rows.numel()
    assert torch.equal(draws[0], draw_normal(3, 4, seed=0))


def test_draws_are_standard_normal() -> None:
    z = draw_normal(2000, 32, seed=3).double()
    n = z.numel()
    assert abs(float(z.mean())) < 5 / math.sqrt(n)
    assert abs(float(z.var()) - 1) < 5 * math.sqrt(2 / n)
    for bound in (-1.5, 0.0, 0.7, 2.0):
        share = NORMAL.cdf(bound)
        assert abs(float((z < bound).double().mean()) - share) < 5 * math.sqrt(share * (1 - share) / n)
    rows = torch.corrcoef(z[:50])
    assert float((rows - torch.eye(50)).abs().max()) < 0.85


def test_truncated_draws_follow_the_inverse_distribution() -> None:
    generator = ToyConditional()
    z = generator.draw(400, seed=5)
    raw = draw_normal(400, 5, seed=5).double()
    low, high = NORMAL.cdf(-2), NORMAL.cdf(2)
    for got, normal in zip(z.flatten().tolist()[:500], raw.flatten().tolist()[:500]):
        expected = NORMAL.inv_cdf(low + NORMAL.cdf(normal) * (high - low))
        assert got == pytest.approx(expected, abs=2e-5)
    many = generator.draw(8000, seed=1).double()
    assert float(many.abs().max()) <= 2
    variance = 1 - 4 * NORMAL.pdf(2) / (high - low)
    assert abs(float(many.var()) - variance) < 5 * variance * math.sqrt(2 / many.numel())


def test_labels_are_drawn_evenly() -> None:
    labels = ToyGenerator(toy_spec(classes=4)).draw_labels(4000, seed=1)
    assert labels is not None
    assert labels.dtype == torch.int64
    counts = torch.bincount(labels, minlength=4)
    assert len(counts) == 4
    assert float((counts - 1000).abs().max()) < 5 * math.sqrt(4000 * 0.25 * 0.75)
    assert ToyGenerator().draw_labels(4) is None


@pytest.mark.parametrize("truncation", [1.0, 0.6, 0.0])
def test_the_prior_is_truncated_where_the_spec_says_so(truncation: float) -> None:
    generator = ToyConditional()
    latents = generator.sample(6, seed=2, truncation=truncation)
    torch.testing.assert_close(latents["z"], generator.draw(6, seed=2) * truncation)
    assert torch.equal(latents["truncation"], torch.full((6,), truncation))
    labels = generator.draw_labels(6, seed=2)
    assert labels is not None
    assert torch.equal(latents["c"], generator.embed(labels))


def test_styles_are_truncated_by_the_mapping_and_never_z() -> None:
    generator = ToyGenerator()
    seen: list[tuple[Tensor, float]] = []
    original = generator.map

    def spy(z: Tensor, *, labels: Tensor | None = None, truncation: float = 1.0) -> Latents:
        seen.append((z, truncation))
        return original(z, labels=labels, truncation=truncation)

    generator.map = spy  # type: ignore[method-assign, assignment]
    latents = generator.sample(3, seed=4, truncation=0.5)
    assert len(seen) == 1
    assert torch.equal(seen[0][0], generator.draw(3, seed=4))
    assert seen[0][1] == 0.5
    bias = generator.mapping.bias
    torch.testing.assert_close(latents["w"], bias + 0.5 * (generator.sample(3, seed=4)["w"] - bias))


class Bands(Generator):
    """z is the images: one value a row."""

    spec = GeneratorSpec(family="bands", size=(4, 4), channels=1, prior=Prior(dim=4), layout=(Vector(dim=4),))

    def synthesize(self, latents: Latents, *, noise: object = "const") -> Tensor:
        return latents["z"][:, None, :, None].expand(-1, 1, 4, 4)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        *((lambda n=n: Bands().sample(n), SpecError, "whole number of 0 or more") for n in (1.5, -1, "2")),
        (lambda: Bands().sample(1, truncation=0.2), SpecError, "bands has no truncation; leave it out"),
        (lambda: Bands().map(torch.zeros(1, 4), truncation=0.4), LatentsError, "truncates no styles"),
        (lambda: ToyConditional().map(torch.zeros(1, 5), truncation=0.4), LatentsError, "truncates no styles"),
        (lambda: ToyConditional().map(torch.zeros(1, 5), truncation_layers=1), LatentsError, "truncates no styles"),
        (lambda: ToyGenerator().map(torch.zeros(1, 6), truncation=math.nan), LatentsError, "takes a finite truncation"),
        (lambda: ToyGenerator().map(torch.zeros(1, 6), truncation_layers=7), LatentsError, "of 0 to 6 layers"),
        (lambda: ToyGenerator().sample(1, truncation=math.inf), SpecError, "is a finite number; not inf"),
        (lambda: ToyConditional().using(truncation=math.nan).__enter__(), LatentsError, "Settings are finite numbers"),
        (lambda: ToyGenerator().synthesize(ToyGenerator().sample(1), noise="Random"), LatentsError, "not 'Random'"),
        (lambda: ToyGenerator().synthesize(ToyGenerator().sample(1), noise=0.5), LatentsError, "a seed or maps; not"),
        (lambda: ToyGenerator().synthesize(ToyGenerator().sample(1), noise=[torch.zeros(1, 1, 3, 3)]),
         LatentsError, r"are \(N, \*shape\) of .*; not \(1, 1, 3, 3\)"),
        (lambda: Bands().synthesize(Bands().sample(1), noise="None"), LatentsError, "it has no maps; not 'None'"),
    ],
)  # fmt: skip
def test_no_argument_is_ignored(call: Callable[[], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


def test_draws_labels_and_latents_come_as_tensors_arrays_or_lists() -> None:
    generator = ToyConditional()
    z = generator.draw(2)
    wanted = generator.map(z, labels=torch.tensor([0, 2]))
    for drawn in (generator.map(z.numpy(), labels=[0, 2]), generator.map(z.tolist(), labels=np.array([0, 2]))):
        assert all(torch.equal(drawn[name], wanted[name]) for name in ("z", "c"))
    assert torch.equal(generator.map(z[0], labels=0)["c"], wanted["c"][:1])
    images = generator.synthesize(wanted)
    arrays = {name: tensor.detach().numpy() for name, tensor in wanted.tensors.items()}
    for given in (dict(wanted.tensors), arrays, Latents(generator.spec.layout, arrays)):
        assert torch.equal(generator.synthesize(given), images)
    styled = ToyGenerator()
    w = styled.sample(2)
    assert torch.equal(styled.synthesize({"w": w["w"][:, 0]}), styled.synthesize(w))
    assert torch.equal(styled.synthesize(w["w"]), styled.synthesize(w))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda g: g.map(torch.zeros(2, 7), labels=0), r"z of toy-conditional is \(N, 5\); this is \(2, 7\)"),
        (lambda g: g.map(torch.zeros(1, 2, 5), labels=0), r"is \(N, 5\); this is \(1, 2, 5\)"),
        (lambda g: g.map("noise", labels=0), "A tensor is wanted as z of toy-conditional, where a str"),
        (lambda g: g.map(torch.zeros(2, 5), labels=[0, 3]), "3.* are no classes of toy-conditional"),
        (lambda g: g.map(torch.zeros(2, 5), labels=[[0, 1], [2]]), "A tensor is wanted as labels, where a list"),
        (lambda g: g.synthesize({"w": torch.zeros(1, 5)}), "The layout has no part 'w'"),
        (lambda g: g.synthesize({"z": torch.zeros(1, 6), "c": torch.zeros(1, 4)}), "Part 'z' has shape"),
        (lambda g: g.synthesize({"z": "x"}), "A tensor is wanted as the part 'z', where a str"),
        (lambda g: g.synthesize(7), "synthesize of toy-conditional is given a int; give it Latents, or a dict"),
        (lambda g: g.synthesize(ToyGenerator().sample(1)), "The layout has no part 'w'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_sentence(call: Callable[[Generator], object], words: str) -> None:
    with pytest.raises(GanencError, match=words):
        call(ToyConditional())


def test_labels_are_given_for_every_sample_or_drawn() -> None:
    generator = ToyConditional()
    rows = torch.eye(3)[[2, 0]]
    by_number = generator.sample(2, labels=torch.tensor([2, 0]))
    assert torch.equal(by_number["c"], generator.sample(2, labels=rows)["c"])
    assert torch.equal(by_number["c"], generator.table.weight.T[[2, 0]])
    with pytest.raises(LatentsError, match="2 labels are given for 3 samples"):
        generator.sample(3, labels=torch.tensor([2, 0]))
    with pytest.raises(LatentsError, match="toy-conditional needs labels"):
        generator.map(generator.draw(2))


def test_labels_are_refused_where_there_are_no_classes() -> None:
    spec = GeneratorSpec(family="plain", size=(4, 4), prior=Prior(dim=3), layout=(Vector(dim=3),))

    class Plain(Generator):
        def synthesize(self, latents: Latents, *, noise: object = "const") -> Tensor:
            return latents["z"]

    generator, label = Plain(spec), torch.tensor([1])
    for refuses in (
        lambda: generator.sample(1, labels=label),
        lambda: generator.map(generator.draw(1), labels=label),
        lambda: generator.center(labels=label),
        lambda: generator.label_rows(label),
        lambda: ToyGenerator().sample(1, labels=label),
    ):
        with pytest.raises(LatentsError, match=r"^\w+ has no classes, so labels are of no use; leave them out\.$"):
            refuses()
    assert ToyGenerator(toy_spec(classes=3)).need_classes() == 3


def test_the_center_is_the_analytic_mean() -> None:
    generator = ToyGenerator(toy_spec(classes=4)).requires_grad_(False)
    spread = 5 * generator.mapping.weight.norm(dim=1) / math.sqrt(10_000)
    assert generator.labels is not None
    for label in range(4):
        expected = generator.mapping.bias + generator.labels.weight[:, label]
        for labels in (torch.tensor([label]), torch.eye(4)[[label]]):
            center = generator.center(labels=labels)
            assert len(center) == 1
            assert bool(((center["w"][0] - expected).abs() < spread).all())
    several = generator.center(labels=torch.tensor([3, 0, 3]))
    assert len(several) == 3
    for one, label in zip(several, (3, 0, 3), strict=True):
        assert torch.equal(one["w"], generator.center(labels=torch.tensor([label]))["w"])
    assert torch.equal(generator.center(labels=torch.eye(4)[[3, 0, 3]])["w"], several["w"])
    over_all = generator.mapping.bias + generator.labels.weight.mean(1)
    spread = spread + 5 * generator.labels.weight.std(1) / math.sqrt(10_000)
    assert bool(((generator.center()["w"][0] - over_all).abs() < spread).all())


def test_no_more_centers_are_kept_than_there_are_classes_and_one_for_all() -> None:
    generator, rows = ToyGenerator(toy_spec(classes=2)), torch.tensor([[0.1 * i, 1 - 0.1 * i] for i in range(6)])
    found = generator.center(labels=rows)
    assert len(generator._centers) == 3
    kept = generator.center(labels=rows[3:])
    assert torch.equal(kept["w"], found["w"][3:])
    assert torch.equal(generator.center(labels=rows[:1])["w"], found["w"][:1]), "what was let go is computed again"
    assert len(generator._centers) == 3
    generator.map = None  # type: ignore[method-assign, assignment]
    assert torch.equal(generator.center(labels=rows[5:])["w"], found["w"][5:]), "what is kept is not"


def test_the_center_has_the_generators_own_map_and_settings() -> None:
    generator = ToyGenerator()
    assert torch.equal(generator.center()["const"], generator.const)
    assert generator.center().space == "w+"
    conditional = ToyConditional().center()
    assert torch.equal(conditional["truncation"], torch.tensor([0.5]))
    assert float(conditional["z"].abs().max()) < 5 * 0.88 / math.sqrt(10_000)


def test_the_center_is_computed_once_and_follows_the_weights_dtype() -> None:
    generator = ToyGenerator()
    calls = 0
    original = generator.map

    def counted(z: Tensor, **options: object) -> Latents:
        nonlocal calls
        calls += len(z)
        return original(z, **options)  # type: ignore[arg-type]

    generator.map = counted  # type: ignore[method-assign, assignment]
    first = generator.center()
    assert calls == 10_000
    again = generator.double().center()
    assert calls == 10_000
    assert again["w"].dtype == torch.float64
    torch.testing.assert_close(again["w"].float(), first["w"])
    assert not first["w"].requires_grad


def test_parts_left_out_take_the_generators_own_value() -> None:
    generator = ToyGenerator().eval()
    w = generator.sample(2, seed=1)
    own = w.replace(const=generator.const.expand(2, -1, -1, -1), **_own_noise(generator, 2))
    with torch.no_grad():
        images = generator.synthesize(w)
        assert torch.equal(images, generator.synthesize(w))
        torch.testing.assert_close(generator.synthesize(own), images)
        other = generator.synthesize(w.replace(const=torch.zeros(2, 8, 4, 4)))
    assert images.shape == (2, 3, 16, 16)
    assert not torch.allclose(other, images)
    whole = generator.complete(w)
    assert torch.equal(whole["const"], generator.const.expand(2, -1, -1, -1))
    assert generator.default("noise") is None
    settings = ToyConditional().complete(ToyConditional().sample(2).only("z", "c"))
    assert torch.equal(settings["truncation"], torch.tensor([0.5, 0.5]))


def _own_noise(generator: ToyGenerator, n: int) -> dict[str, Tensor]:
    own = [getattr(generator, f"noise_{i}") for i in range(generator.levels)]
    return {f"noise.{i}": one.expand(n, -1, -1, -1) for i, one in enumerate(own)}


def test_freeze_stops_gradients_of_weights_and_not_of_latents() -> None:
    generator = ToyGenerator().train().freeze()
    assert not generator.training
    assert not any(parameter.requires_grad for parameter in generator.parameters())
    latents = generator.sample(2)
    latents = latents.replace(w=latents["w"].requires_grad_())
    generator.synthesize(latents).square().sum().backward()
    gradient = latents["w"].grad
    assert gradient is not None
    assert bool((gradient.abs().sum((0, 2)) > 0).all())


def test_device_and_dtype_are_those_of_the_weights() -> None:
    generator = ToyGenerator().to(torch.bfloat16)
    assert generator.dtype == torch.bfloat16
    assert generator.device == torch.device("cpu")
    assert generator.draw(2).dtype == torch.bfloat16
    assert generator.to("meta").device == torch.device("meta")


def test_styles_without_a_mapping_network_cannot_be_drawn() -> None:
    class Bare(Generator):
        def synthesize(self, latents: Latents, *, noise: object = "const") -> Tensor:
            return latents["w"]

    spec = GeneratorSpec(family="bare", size=(4, 4), prior=Prior(dim=3), layout=(Styles(layers=2, dim=3),))
    with pytest.raises(LatentsError, match="bare has styles 'w' but no mapping network"):
        Bare(spec).sample(1)
    with pytest.raises(LatentsError, match="no condition"):
        Bare(spec).embed(torch.tensor([1]))


def test_a_generator_has_to_synthesize() -> None:
    with pytest.raises(TypeError, match="synthesize"):
        Generator(toy_spec())  # type: ignore[abstract]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_labels_become_rows(dtype: torch.dtype) -> None:
    generator = ToyGenerator(toy_spec(classes=3)).to(dtype)
    rows = generator.label_rows(torch.tensor([2, 0]))
    assert rows.dtype == dtype
    assert rows.tolist() == [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    mixed = torch.tensor([[0.5, 0.5, 0.0]])
    assert generator.label_rows(mixed).tolist() == mixed.tolist()
    assert generator.label_rows(torch.tensor([], dtype=torch.int64)).shape == (0, 3)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (torch.tensor([0, 3]), r"^Labels run from 0 to 2; \[3\] are no classes of toy\.$"),
        (torch.tensor([-1]), r"^Labels run from 0 to 2; \[-1\] are no classes of toy\.$"),
        (
            torch.tensor([0.5]),
            r"^Labels are whole numbers \(N,\) or rows \(N, 3\); these are \(1,\) of torch\.float32\.$",
        ),
        (torch.tensor([True]), r"these are \(1,\) of torch\.bool\.$"),
        (torch.ones(2, 4), r"these are \(2, 4\) of torch\.float32\.$"),
        (torch.tensor(1), r"these are \(\) of torch\.int64\.$"),
    ],
    ids=str,
)
def test_labels_that_do_not_fit_are_one_sentence(labels: Tensor, words: str) -> None:
    with pytest.raises(LatentsError, match=words):
        ToyGenerator(toy_spec(classes=3)).label_rows(labels)


def test_a_setting_holds_while_it_is_used_and_no_longer():
    generator = ToyConditional()
    latents = generator.map(generator.draw(2, seed=1), labels=torch.tensor([0, 2]))
    plain = generator.synthesize(generator.complete(latents))
    with generator.using(truncation=0.25):
        assert generator.complete(latents)["truncation"].tolist() == [0.25, 0.25]
        with pytest.raises(ZeroDivisionError), generator.using(truncation=0.75):
            1 / (generator.default("truncation") != 0.75).item()
        assert generator.default("truncation").tolist() == [0.25]
        assert not torch.equal(generator.synthesize(generator.complete(latents)), plain)
    assert torch.equal(generator.synthesize(generator.complete(latents)), plain)


def test_only_settings_can_be_set_for_a_while():
    with pytest.raises(LatentsError, match="'z' of toy-conditional is no setting"), ToyConditional().using(z=1.0):
        pass
    with pytest.raises(SpecError, match="truncation"), ToyConditional().using(truncatoin=1.0):
        pass
