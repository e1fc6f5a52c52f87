"""The class of a photo: given, predicted and searched, on a generator whose classes are colours."""

from __future__ import annotations

from typing import Any

import ganenc
import pytest
import torch
from ganenc.encoders import Encoder
from ganenc.inversion import Found, Optimize, find_labels, looks_at_labels, predict_labels, search_labels
from ganenc.inversion import photo_classes as classes
from ganenc.latents import Latents
from ganenc.objectives import Batch, EncoderStep, Objective
from ganenc_registry.errors import LatentsError, SpecError
from torch import Tensor
from toys import (
    ColourBackbone,
    ToyColours,
    ToyConditional,
    ToyGenerator,
    make_objective,
    small_encoder,
    toy_colours_spec,
    toy_spec,
)

TRUE = torch.tensor([2, 0, 3, 1, 3])


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganenc.generators.generator.CENTER_DRAWS", 1000)


@pytest.fixture
def generator() -> ToyColours:
    return ToyColours().freeze()


@pytest.fixture
def encoder(generator: ToyColours) -> Encoder:
    return small_encoder(generator)


@pytest.fixture
def objective() -> Objective:
    return make_objective({"mse": 5.0, "cos": 3.0}, "center")


@pytest.fixture
def seeing() -> Objective:
    """An objective with a backbone that knows the four colours."""
    return make_objective({"mse": 5.0, "lpips": 1.0}, "none", backbone=ColourBackbone())


def made(generator: Any, labels: Tensor = TRUE) -> Tensor:
    images: Tensor = generator.synthesize(generator.sample(len(labels), seed=7, labels=labels))
    return images


def by_hand(image: Tensor, tried: list[int], generator: Any, encoder: Encoder, objective: Objective) -> int:
    """The class under which one pass comes nearest to one image, one after another."""
    losses = []
    for label in tried:
        given = torch.tensor([label])
        with torch.no_grad():
            latents = encoder(image[None], labels=given).replace(c=generator.embed(given))
            rebuilt = generator.synthesize(latents)
            losses.append(objective(rebuilt, objective.prepare(image[None])).total.item())
    return tried[losses.index(min(losses))]


class TestSearch:
    @pytest.mark.parametrize("batch", [1, 3, 16])
    def test_it_finds_the_class_that_an_image_was_made_of(
        self, generator: ToyColours, encoder: Encoder, objective: Objective, batch: int
    ) -> None:
        assert torch.equal(search_labels(made(generator), generator, encoder, objective, batch=batch), TRUE)

    @pytest.mark.parametrize("batch", [2, 5, 64])
    def test_it_is_the_loop_by_hand(self, batch: int) -> None:
        generator = ToyConditional().freeze()
        encoder, images = small_encoder(generator), torch.rand(9, 3, 8, 8, generator=torch.manual_seed(4)) * 2 - 1
        objective = make_objective({"mse": 1.0, "cos": 2.0, "ssim": 1.0}, "center")
        expected = [by_hand(image, [0, 1, 2], generator, encoder, objective) for image in images]
        assert len(set(expected)) > 1
        assert search_labels(images, generator, encoder, objective, batch=batch).tolist() == expected

    def test_candidates_bound_it_for_all_or_for_each(
        self, generator: ToyColours, encoder: Encoder, objective: Objective
    ) -> None:
        images = made(generator)
        found = search_labels(images, generator, encoder, objective, candidates=[1, 0])
        assert found.tolist() == [by_hand(image, [1, 0], generator, encoder, objective) for image in images]
        pairs = torch.tensor([[2, 1], [1, 2], [1, 3], [0, 1], [2, 0]])
        found = search_labels(images, generator, encoder, objective, candidates=pairs)
        expected = [by_hand(i, pair.tolist(), generator, encoder, objective) for i, pair in zip(images, pairs)]
        assert found.tolist() == expected
        assert found[[0, 2, 3]].tolist() == [2, 3, 1]

    def test_of_many_classes_it_tries_the_likeliest_of_a_matching_backbone(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        generator = ToyColours(toy_colours_spec(60)).freeze()
        encoder, labels = small_encoder(generator), torch.tensor([59, 0, 31])
        images = made(generator, labels)
        blind = make_objective({"mse": 1.0}, "none")
        with pytest.raises(SpecError, match=r"60 classes, too many to try them all.*give candidates, or the labels"):
            search_labels(images, generator, encoder, blind)
        backbone = ColourBackbone(classes=60)
        objective = make_objective({"mse": 1.0, "lpips": 0.1}, "none", backbone=backbone)
        counted = 0
        forward = encoder.forward

        def counting(images: Tensor, **rest: Any) -> Any:
            nonlocal counted
            counted += len(images)
            return forward(images, **rest)

        monkeypatch.setattr(encoder, "forward", counting)
        assert torch.equal(search_labels(images, generator, encoder, objective), labels)
        assert counted == 3 * classes.LIKELIEST
        likeliest = predict_labels(images, generator, backbone, likeliest=classes.LIKELIEST)
        expected = [by_hand(i, row.tolist(), generator, encoder, objective) for i, row in zip(images, likeliest)]
        assert labels.tolist() == expected

    def test_without_an_encoder_the_mean_of_each_class_stands_in(
        self, generator: ToyColours, objective: Objective
    ) -> None:
        assert torch.equal(search_labels(made(generator), generator, None, objective), TRUE)
        styled = ToyGenerator(toy_spec((8, 8), dim=4, classes=3)).freeze()
        labels = torch.tensor([1, 2, 0])
        images = styled.synthesize(styled.center(labels=labels))
        blind = small_encoder(styled)
        assert not looks_at_labels(styled, blind)
        assert torch.equal(search_labels(images, styled, blind, objective), labels)

    def test_a_loss_that_is_not_finite_is_never_the_lowest(
        self, generator: ToyColours, encoder: Encoder, objective: Objective, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        images, synthesize, first = made(generator), generator.synthesize, generator.colours[1]

        def breaking(latents: Latents, **rest: Any) -> Tensor:
            spoiled = (latents["c"] == first).all(1).reshape(-1, 1, 1, 1)
            return torch.where(spoiled, torch.nan, synthesize(latents, **rest))

        monkeypatch.setattr(generator, "synthesize", breaking)
        found = search_labels(images, generator, encoder, objective)
        assert found[[0, 1, 2, 4]].tolist() == [2, 0, 3, 3]
        assert int(found[3]) != 1

    @pytest.mark.parametrize(
        ("candidates", "message"),
        [
            ([0, 4], r"Candidates run from 0 to 3; \[4\] are no classes of toy-colours"),
            ([-1], r"\[-1\] are no classes"),
            ([], r"these are \(5, 0\)"),
            ([0.5], "Candidates are whole numbers .* these are"),
            (torch.zeros(2, 3, dtype=torch.int64), r"\(N, K\) for 5 images; these are \(2, 3\)"),
        ],
    )
    def test_wrong_candidates_are_one_sentence(
        self, generator: ToyColours, encoder: Encoder, objective: Objective, candidates: Any, message: str
    ) -> None:
        with pytest.raises(LatentsError, match=message):
            search_labels(made(generator), generator, encoder, objective, candidates=candidates)


class TestPrediction:
    def test_it_agrees_with_the_backbone(self, generator: ToyColours) -> None:
        backbone = ColourBackbone()
        images = torch.rand(40, 3, 8, 8, generator=torch.manual_seed(4)) * 2 - 1
        logits = backbone(images).logits
        assert logits is not None
        assert len(set(logits.argmax(1).tolist())) > 1
        assert torch.equal(predict_labels(images, generator, backbone, batch=7), logits.argmax(1))
        two = predict_labels(images, generator, backbone, likeliest=2)
        assert torch.equal(two, logits.argsort(1, descending=True)[:, :2])
        assert predict_labels(images, generator, backbone, likeliest=9).shape == (40, 4)
        assert torch.equal(predict_labels(made(generator), generator, backbone), TRUE)

    def test_values_reach_the_backbone_from_minus_1_to_1(self) -> None:
        generator = ToyColours()
        generator.spec = generator.spec.model_copy(update={"value_range": (0.0, 255.0)})
        images = (made(ToyColours()) + 1) * 127.5
        assert torch.equal(predict_labels(images, generator, ColourBackbone()), TRUE)

    def test_a_backbone_of_other_classes_is_one_sentence(self, generator: ToyColours, encoder: Encoder) -> None:
        other = make_objective({"lpips": 1.0}, "none", backbone=ColourBackbone(classes=5))
        message = "'toy-colour-backbone' knows 5 classes and toy-colours has 4, so it cannot predict them"
        with pytest.raises(SpecError, match=message):
            find_labels(made(generator), generator, encoder, other, labels="predicted")
        blind = make_objective({"mse": 1.0}, "none")
        with pytest.raises(SpecError, match="no backbone to predict labels with"):
            find_labels(made(generator), generator, encoder, blind, labels="predicted")


class TestGiven:
    def test_one_for_all_one_each_and_rows(self, generator: ToyColours) -> None:
        assert generator.as_labels(3, 2).tolist() == [3, 3]
        assert generator.as_labels([1], 3).tolist() == [1, 1, 1]
        assert generator.as_labels([1, 2], 2).tolist() == [1, 2]
        assert generator.as_labels(torch.tensor([1, 2], dtype=torch.uint8), 2).dtype == torch.int64
        rows = torch.eye(4)[[1, 2]]
        assert torch.equal(generator.as_labels(rows, 2), rows)
        assert torch.equal(generator.as_labels(rows[:1], 2), rows[[0, 0]])

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            ([0, 1, 2], "3 labels are given for 5 samples; give one for each, or one for all"),
            ([0, 1, 2, 4, 9], r"Labels run from 0 to 3; \[4, 9\] are no classes of toy-colours"),
            (-1, r"\[-1\] are no classes"),
            (torch.zeros(5, 3), r"rows \(N, 4\); these are \(5, 3\)"),
            (torch.zeros(5), r"whole numbers \(N,\).*these are \(5,\) of torch.float32"),
        ],
    )
    def test_wrong_ones_are_one_sentence(
        self, generator: ToyColours, encoder: Encoder, labels: Any, message: str
    ) -> None:
        with pytest.raises(LatentsError, match=message):
            ganenc.invert(made(generator), generator, encoder, method="encode", labels=labels)


class TestInvert:
    def test_the_given_class_beats_a_wrong_one(
        self, generator: ToyColours, encoder: Encoder, objective: Objective
    ) -> None:
        images = made(generator)
        for method in ("encode", {"name": "finetune", "options": {"steps": 4}}):
            right, wrong = (
                ganenc.invert(images, generator, encoder, method, labels=labels, objective=objective).reconstructions
                for labels in (TRUE, (TRUE + 1) % 4)
            )
            errors = [(made - images).square().flatten(1).mean(1) for made in (right, wrong)]
            assert bool((errors[0] < 0.5 * errors[1]).all())

    def test_the_settings_say_how_the_labels_came(
        self, generator: ToyColours, encoder: Encoder, objective: Objective, seeing: Objective
    ) -> None:
        images, rows = made(generator), torch.eye(4)[TRUE]
        cases: list[tuple[Any, Objective, str]] = [
            (TRUE, objective, "given"),
            ("predicted", seeing, "predicted"),
            ("searched", objective, "searched"),
            ("searched", seeing, "searched"),
            (None, seeing, "predicted"),
            (None, objective, "searched"),
        ]
        for labels, judge, source in cases:
            done = ganenc.invert(images, generator, encoder, method="encode", labels=labels, objective=judge)
            assert (done.settings["labels"], done.labels_from) == (TRUE.tolist(), source)
            assert done.labels is not None
            assert torch.equal(done.labels, TRUE)
            assert torch.equal(done.latents["c"], generator.embed(TRUE))
        done = ganenc.invert(images, generator, encoder, method="encode", labels=rows)
        assert (done.settings["labels"], done.labels_from) == (rows.tolist(), "given")
        done = ganenc.invert(images, generator, encoder, method="encode", objective=seeing, candidates=[0, 1])
        assert done.labels_from == "searched"
        assert set(done.settings["labels"]) <= {0, 1}
        done = ganenc.invert(images, generator, method=Optimize.of(steps=2, draws=2), objective=objective)
        assert (done.settings["labels"], done.labels_from) == (TRUE.tolist(), "searched")

    def test_labels_that_nothing_looks_at_are_left_out_or_predicted(
        self, objective: Objective, seeing: Objective
    ) -> None:
        styled = ToyGenerator(toy_spec((8, 8), dim=4, classes=4)).freeze()
        images, blind = made(styled), small_encoder(styled)
        done = ganenc.invert(images, styled, blind, method="encode")
        assert done.labels is None
        assert "labels" not in done.settings
        assert find_labels(images, styled, blind, objective) == Found(None, None)
        predicted = find_labels(images, styled, blind, seeing)
        assert predicted.source == "predicted"
        plain = ToyGenerator(toy_spec((8, 8), dim=4)).freeze()
        assert find_labels(images, plain, None, seeing) == Found(None, None)

    def test_what_makes_no_sense_is_one_sentence(
        self, generator: ToyColours, encoder: Encoder, objective: Objective
    ) -> None:
        images = made(generator)

        def find(**given: Any) -> Any:
            return ganenc.invert(images, generator, encoder, method="encode", objective=objective, **given)

        with pytest.raises(SpecError, match=r"not 'predict' \(did you mean 'predicted'\?\)"):
            find(labels="predict")
        with pytest.raises(SpecError, match="Candidates are for labels that are searched; these are given"):
            find(labels=2, candidates=[1])
        plain = ToyGenerator(toy_spec((8, 8), dim=4)).freeze()
        for given in ({"labels": 1}, {"labels": "searched"}, {"candidates": [1]}):
            with pytest.raises(LatentsError, match="toy has no classes, so labels are of no use"):
                ganenc.invert(images, plain, method="optimize", objective=objective, **given)
        with pytest.raises(SpecError, match="searched only with an objective"):
            find_labels(images, generator, encoder, None)


def test_a_step_synthesizes_from_the_embedded_label_and_supervises_the_predicted_one(
    generator: ToyColours, encoder: Encoder
) -> None:
    latents = generator.sample(5, seed=7, labels=TRUE)
    batch = Batch(generator.synthesize(latents), TRUE, latents)
    objective = make_objective({"mse": 1.0}, "none", latent={"weight": 1.0, "mse": 1.0, "cos": 0.0})
    outcome = EncoderStep(generator, encoder, objective)(batch)
    assert outcome.reconstruction is not None
    expected = generator.synthesize(outcome.latents.replace(c=generator.embed(TRUE)))
    assert torch.equal(outcome.reconstruction, expected)
    assert not torch.allclose(outcome.latents["c"], generator.embed(TRUE), atol=0.05)
    error = (outcome.latents["c"] - generator.embed(TRUE)).square().mean(1)
    assert torch.allclose(outcome.result.terms["latent/c/mse"], error)
