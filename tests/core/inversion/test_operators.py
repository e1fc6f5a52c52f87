"""Operators against independent libraries and formulas, and photos inverted through them."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ganenc import Model
from ganenc.encoders import build_encoder
from ganenc.images import read, to_image
from ganenc.inversion import (
    Blur,
    Downscale,
    Grey,
    Jpeg,
    Mask,
    Noise,
    Operator,
    PhotoFolder,
    Seen,
    SeenObjective,
    Task,
    build_operator,
    default_method,
    descend,
    fill,
    invert,
    operator_choices,
    purpose_of,
)
from ganenc_registry.components import Context
from ganenc_registry.errors import GanencError, ImageError, SpecError, UnknownNameError
from ganenc_registry.specs import Map
from PIL import Image
from scipy.ndimage import convolve, gaussian_filter
from skimage.color import rgb2ycbcr
from torch import Tensor
from toys import ToyConditional, ToyGenerator, make_objective, toy_spec

SIZE = (24, 36)


@pytest.fixture
def images() -> Tensor:
    """Smooth ones, as photos are."""
    drawn = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    smooth = torch.from_numpy(gaussian_filter(drawn.numpy(), (0, 0, 1.5, 1.5)))
    return smooth / smooth.abs().amax() * 0.9


def built(written: str) -> Operator:
    return build_operator(written, Context())


@pytest.mark.parametrize(("kernel", "resampling"), [("bicubic", "BICUBIC"), ("bilinear", "BILINEAR"), ("box", "BOX")])
@pytest.mark.parametrize("factor", [4, 2.0])
def test_downscale_is_what_pillow_does(images: Tensor, kernel: Any, resampling: str, factor: float) -> None:
    seen = Downscale.of(factor=factor, kernel=kernel)(images)
    height, width = (round(side / factor) for side in SIZE)
    for plane, found in zip(images.flatten(0, 1), seen.flatten(0, 1), strict=True):
        one = Image.fromarray(plane.float().numpy())
        wanted = np.asarray(one.resize((width, height), Image.Resampling[resampling]))
        if kernel == "bicubic":  # Pillow's curve has a of -0.5, and so has torch's where it is antialiased.
            assert np.abs(found.numpy() - wanted).max() < 1e-5
        assert np.allclose(found.numpy(), wanted, atol=1e-5)


def test_an_odd_factor_gives_the_nearest_size() -> None:
    assert Downscale.of(factor=5).seen_size((64, 33)) == (13, 7)
    assert Downscale.of(factor=1000).seen_size((64, 33)) == (1, 1)


@pytest.mark.parametrize("sigma", [0.5, 2.0, 5.0])
def test_blur_is_scipys(images: Tensor, sigma: float) -> None:
    wanted = gaussian_filter(images.numpy(), (0, 0, sigma, sigma), mode="nearest", truncate=4.0)
    assert np.allclose(Blur.of(sigma=sigma)(images).numpy(), wanted, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 5), (4, 4), (1, 7)])
def test_a_kernel_is_convolved_with(images: Tensor, tmp_path: Path, shape: tuple[int, int]) -> None:
    kernel = np.random.default_rng(0).integers(1, 255, shape).astype(np.uint8)
    Image.fromarray(kernel).save(tmp_path / "kernel.png")
    np.save(tmp_path / "kernel.npy", kernel / 255.0)
    odd = np.pad(kernel / kernel.sum(), [(0, 1 - side % 2) for side in shape])
    wanted = np.stack([convolve(plane, odd, mode="nearest") for plane in images.flatten(0, 1).numpy()])
    for name in ("kernel.png", "kernel.npy"):
        seen = Blur.of(kernel=str(tmp_path / name))(images)
        assert np.allclose(seen.flatten(0, 1).numpy(), wanted, atol=1e-6)


def test_grey_is_luma(images: Tensor) -> None:
    seen = Grey.of()(images)
    luma = rgb2ycbcr((images.numpy() + 1) / 2, channel_axis=1)[:, 0]
    wanted = ((luma - 16) / 219) * 2 - 1
    assert torch.equal(seen[:, 0], seen[:, 2])
    assert np.allclose(seen[:, 0].numpy(), wanted, atol=2e-3)  # Whose factors have three digits.
    assert torch.allclose(Grey.of()(images[:, :2])[:, 1], images[:, :2].mean(1))


@pytest.mark.parametrize("quality", [10, 50, 90])
def test_jpeg_is_near_what_pillow_writes(quality: int) -> None:
    grid = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, side) for side in (40, 56)], indexing="ij"))
    image = torch.stack([grid[0], (4 * grid[1]).sin(), grid[0] * grid[1]])[None]
    file = io.BytesIO()
    to_image(image[0]).save(file, "JPEG", quality=quality)
    wanted = read(file.getvalue())
    apart = (Jpeg.of(quality=quality)(image)[0] - wanted).abs().mean()
    lost = (image[0] - wanted).abs().mean()
    assert apart < lost / 2 + 2 / 255


def test_noise_has_its_level_and_is_the_same_for_all() -> None:
    images = torch.zeros(2, 3, 64, 64)
    seen = Noise.of(level=0.1)(images)
    assert seen.std() == pytest.approx(0.2, rel=0.05)  # Of a range from -1 to 1.
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen, Noise.of(level=0.1, seed=1)(images))


def test_a_chain_goes_in_order(images: Tensor) -> None:
    chain, other = built("mask:box=0,0,8,8|downscale:2"), built("downscale:2|mask:box=0,0,8,8")
    assert torch.equal(chain(images), Downscale.of()(Mask.of(box=(0, 0, 8, 8))(images)))
    assert torch.equal(other(images), Mask.of(box=(0, 0, 8, 8))(Downscale.of()(images)))
    assert chain.seen_size(SIZE) == other.seen_size(SIZE) == (12, 18)
    known = torch.ones(1, 1, *SIZE, dtype=torch.bool)
    assert not other.known(known)[..., :8, :8].any()
    assert not chain.known(known)[..., :4, :4].any()
    assert chain.known(known)[..., 8:, 8:].all()
    assert chain.guess(chain(images), SIZE).shape == images.shape


def test_what_is_known_of_a_blurred_mask_is_far_from_the_hole() -> None:
    known = built("mask:box=10,10,12,12|blur:1").known(torch.ones(1, 1, *SIZE, dtype=torch.bool))[0, 0]
    assert not known[10:12, 10:12].any()
    assert known[10, 16]
    assert not known[10, 12]


def test_holes_are_filled_from_around() -> None:
    image, known = torch.zeros(1, 1, 9, 13), torch.ones(1, 1, 9, 13, dtype=torch.bool)
    image[..., 6:] = 1.0
    known[..., 2:7, 2:4], known[..., 2:7, 9:11] = False, False
    filled = fill(torch.where(known, image, torch.nan).nan_to_num(7.0), known)
    assert torch.equal(filled[known], image[known])
    assert filled[..., 2:7, 2].max() < 0.3
    assert filled[..., 2:7, 10].min() > 0.7


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("downscale:4", [("downscale", {"factor": 4})]),
        ("downscale=4", [("downscale", {"factor": 4})]),
        ("mask:file=a=b.png", [("mask", {"file": "a=b.png"})]),
        ("mask:box=1,2,3,4", [("mask", {"box": [1, 2, 3, 4]})]),
        ("mask:colour=#ff00ff,box=[0, 0, 1, 1]", [("mask", {"colour": "#ff00ff", "box": [0, 0, 1, 1]})]),
        ("blur:? | grey", [("blur", {"sigma": "?"}), ("grey", {})]),
    ],
)
def test_operators_are_written_on_one_line(written: str, wanted: list[tuple[str, dict[str, Any]]]) -> None:
    assert [(one.name, one.options) for one in operator_choices(written)] == wanted


@pytest.mark.parametrize(
    ("written", "error", "told"),
    [
        ("downscal:4", UnknownNameError, "did you mean 'downscale'"),
        ("downscale:1", SpecError, "greater than 1"),
        ("downscale:factr=2", SpecError, "factor"),
        ("downscale:2,3,kernel=box", SpecError, "factor"),
        ("grey:1", SpecError, "names no option of grey"),
        ("blur:2,kernel=k.png", SpecError, "sigma and kernel"),
        ("mask:box=4,4,2,8", SpecError, "left < right"),
        ("mask:colour=reddish", SpecError, "colour"),
        ("jpeg:0", SpecError, "from 1 to 100"),
        ("", UnknownNameError, "operator"),
    ],
)
def test_what_cannot_be_an_operator_is_told(written: str, error: type[GanencError], told: str) -> None:
    with pytest.raises(error, match=told):
        built(written)


def test_a_bad_kernel_is_told(tmp_path: Path) -> None:
    Image.new("L", (3, 3)).save(tmp_path / "black.png")
    with pytest.raises(ImageError, match="is no kernel"):
        built(f"blur:kernel={tmp_path / 'black.png'}")


@pytest.fixture
def model() -> Model:
    generator = ToyGenerator(toy_spec((16, 16)))
    return Model(generator, build_encoder(generator), backbone="none")


def reachable(model: Model) -> Tensor:
    """An image that the generator makes, within its range."""
    image = model.generate(1, seed=3).images
    return (image / image.abs().amax()).detach()


STEPS: dict[str, Any] = {"name": "optimize", "options": {"steps": 3, "starts": 1}}


@pytest.mark.parametrize("written", ["downscale:4", "mask:box=2,2,8,8", "grey", "blur:?", "noise:0.1", "jpeg:?"])
@pytest.mark.parametrize("method", ["encode", "newton", "optimize", "finetune", "tune"])
def test_every_inverter_takes_every_operator(model: Model, written: str, method: str) -> None:
    seen = built(written)(reachable(model)).detach()
    options = {} if method == "encode" else {"steps": 2}
    done = invert(
        seen, model.generator, model.encoder, {"name": method, "options": options}, operator=written,
        objective=make_objective({"mse": 1.0}, "none"),
    )  # fmt: skip
    assert done.reconstructions.shape == (1, 3, 16, 16)
    assert done.seen is not None
    assert done.seen.through(done.reconstructions).shape == seen.shape
    replayed = invert(
        seen, model.generator, model.encoder, **done.settings | {"objective": make_objective({"mse": 1.0}, "none")}
    )
    assert torch.equal(replayed.reconstructions, done.reconstructions)


def test_the_loss_is_of_what_was_seen(model: Model) -> None:
    operator, objective = built("downscale:4"), make_objective({"mse": 1.0}, "none")
    seen = operator(reachable(model)).detach()
    done = invert(seen, model.generator, None, STEPS, operator="downscale:4", objective=objective)
    first = done.history[0][0]["total"]
    start = model.generator.synthesize(model.generator.complete(model.generator.center()))
    assert first == pytest.approx(float((operator(start) - seen).square().mean()), rel=1e-4)


def test_what_a_mask_hides_changes_nothing(model: Model) -> None:
    image = reachable(model)
    other = image.clone()
    other[..., 4:8, 4:8] = 1.0
    found = [
        invert(one, model.generator, None, STEPS, operator="mask:box=4,4,8,8", objective=make_objective({"mse": 1.0}))
        for one in (image, other)
    ]
    assert torch.equal(found[0].reconstructions, found[1].reconstructions)


def test_photos_do_not_touch_one_another(model: Model) -> None:
    seen = torch.cat([built(f"blur:{sigma}")(reachable(model)) for sigma in (0.7, 2.0)]).detach()
    objective = make_objective({"mse": 1.0}, "none")
    both = invert(seen, model.generator, None, STEPS, operator="blur:?", objective=objective)
    alone = invert(seen[1:], model.generator, None, STEPS, operator="blur:?", objective=objective)
    assert both.seen is not None
    assert alone.seen is not None
    assert both.seen.operators[1].found() == pytest.approx(alone.seen.operators[0].found(), rel=1e-4)
    assert both.seen.operators[0].found() != both.seen.operators[1].found()


def test_what_is_found_of_an_operator_belongs_to_the_best_latents(model: Model) -> None:
    """Every step moves the sigmas; the first photo's loss is lowest in the second step, the other's in the third."""
    generator = model.generator
    images = torch.cat([reachable(model), -reachable(model)])
    seen = Seen.of(built("blur:1")(images), built("blur:?"), (16, 16))
    objective = SeenObjective(make_objective({"mse": 1.0}, "none"), seen)
    task, logs = Task(seen.guesses, generator, objective=objective), []
    latents, reference = generator.complete(generator.sample(2, seed=4)), objective.prepare(seen.guesses)
    moved = torch.zeros((), requires_grad=True)
    losses = iter(torch.tensor([[3.0, 9.0], [1.0, 8.0], [2.0, 7.0], [4.0, 7.5]]))

    def take() -> Any:
        logs.append(objective.logs_of(seen.guesses))
        loss = objective(generator.synthesize(latents) + moved, reference).total
        told = next(losses)
        return latents, SimpleNamespace(image=told, terms={"total": told}, images=None), loss

    best, _ = descend(task, [moved], take, steps=4, rate=0.1)
    best.take()
    now = objective.logs_of(seen.guesses)
    assert torch.equal(now, torch.stack([logs[1][0], logs[2][1]]))
    assert len({float(row[0]) for row in logs}) == 4


@pytest.mark.parametrize("better", [True, False])
def test_other_starts_leave_what_belongs_to_the_latents_that_are_kept(
    better: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the runs after the first none comes nearer, or the last one hits."""
    generator, labels = ToyConditional(), torch.tensor([1])
    image = generator.synthesize(generator.sample(1, seed=3, labels=labels)).detach()
    optimise = sys.modules["ganenc.inversion.optimize"].optimise_latents
    runs: list[tuple[Tensor, Any]] = []

    def optimised(task: Task, *given: Any, **options: Any) -> Any:
        done = optimise(task, *given, **options)
        if len(runs) == 2:
            done = replace(done, reconstructions=image if better else image + 9)
        runs.append((task.objective.logs_of(task.images[:1]).clone(), done))  # type: ignore[union-attr]
        return done

    monkeypatch.setattr("ganenc.inversion.optimize.optimise_latents", optimised)
    steps = {"name": "optimize", "options": {"steps": 8, "starts": 3, "poor": 300.0}}
    done = invert(
        built("blur:1")(image).detach(), generator, None, steps, labels=labels, operator="blur:?",
        objective=make_objective({"mse": 1.0}, "none"),
    )  # fmt: skip
    logs, kept = runs[2 if better else 0]
    assert done.seen is not None
    assert torch.equal(done.reconstructions, kept.reconstructions)
    assert torch.equal(done.seen.operators[0].logs, logs[0])
    assert len({float(logs) for logs, _ in runs}) == 3


@pytest.mark.parametrize("written", ["grey|blur:{}", "jpeg:{}"])
@pytest.mark.parametrize("far", [-1e3, 1e3])
def test_what_is_unknown_ends_where_the_option_does(written: str, far: float) -> None:
    """A step of a method may go anywhere."""
    images, operator = torch.linspace(-1, 1, 192).reshape(1, 3, 8, 8), built(written.format("?"))
    logs = torch.tensor([far], requires_grad=True)
    made = operator.at(logs, images)
    made.square().sum().backward()
    assert torch.equal(logs.grad, torch.zeros(1))  # type: ignore[arg-type]
    operator.logs = logs
    (found,) = operator.found().values()
    torch.testing.assert_close(made.detach(), built(written.format(found))(images))


@pytest.mark.parametrize(("true", "told"), [("blur:1.2", "blur:?"), ("grey|blur:3", "grey|blur:?")])
def test_an_unknown_sigma_is_found(model: Model, true: str, told: str) -> None:
    generator = model.generator
    latents = generator.complete(generator.sample(1, seed=3))
    image = generator.synthesize(latents).detach()
    seen = Seen.of(built(true)(image), built(told), (16, 16))
    for _ in range(80):
        (seen.through(image) - seen.seen).square().mean().backward()
    (found,) = seen.operators[0].found().values()
    assert found == pytest.approx(float(true.rpartition(":")[2]), rel=0.03)


@pytest.mark.parametrize(
    ("written", "encoded", "wanted"),
    [
        ("grey|downscale:2", True, "newton"),
        ("grey|downscale:2", False, "optimize"),
        ("grey|mask", True, "optimize"),
        (None, True, "tune"),
    ],
)
def test_what_is_taken_by_default_is_by_what_was_seen(
    model: Model, written: str | None, encoded: bool, wanted: str
) -> None:
    purpose = purpose_of(written)
    assert default_method(encoded, purpose, model.generator.spec.layout)["name"] == wanted
    assert written is None or purpose_of(built(written)) == purpose
    if wanted == "newton":
        assert default_method(True, purpose, (Map(channels=1, height=4, width=4),))["name"] == "optimize"


@pytest.mark.parametrize("how", ["file", "colour", "alpha"])
def test_a_mask_comes_from_the_photo_or_a_file(model: Model, tmp_path: Path, how: str) -> None:
    photo = to_image(torch.nn.functional.interpolate(reachable(model), scale_factor=4)[0])
    hole = Image.new("L", photo.size)
    hole.paste(255, (16, 24, 32, 48))
    hole.save(tmp_path / "hole.png")
    photo.paste((255, 0, 255), (16, 24, 32, 48))
    if how == "alpha":
        photo.putalpha(Image.eval(hole, lambda value: 255 - value))
    photo.save(tmp_path / "photo.png")
    written = {"file": f"mask:{tmp_path / 'hole.png'}", "colour": "mask:colour=#ff00ff", "alpha": "mask"}[how]
    (done,) = model.restore(tmp_path / "photo.png", written, method=STEPS)
    assert done.seen is not None
    hidden = ~done.seen.known[0, 0]
    assert hidden[6:12, 4:8].all()
    assert hidden.sum() <= 8 * 6  # With a pixel around, which both had a share in.
    assert done.pasted is not None
    assert torch.allclose(done.pasted[0][:, ~hidden], done.seen.seen[0][:, ~hidden], atol=1e-6)
    done.save(tmp_path / "out")
    folder = PhotoFolder(tmp_path / "out")
    assert (folder.path / folder.PASTED).is_file()
    assert "Pasted" in (folder.path / folder.PAGE).read_text()


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("downscale:2", "16x16 and 8x8 pixels; give the photo as it was seen"),
        ("mask", "no transparent pixels"),
        ("mask:colour=lime", "hides nothing"),
        ("mask:box=0,0,99,99", "hides all"),
        ("mask:box=70,0,99,99", "hides nothing"),
        ("mask:{}/small.png", "make the mask as large"),
    ],
)
def test_photos_that_do_not_fit_are_told(model: Model, tmp_path: Path, written: str, told: str) -> None:
    to_image(reachable(model)[0]).save(tmp_path / "photo.png")
    Image.new("L", (5, 5), 255).save(tmp_path / "small.png")
    with pytest.raises(ImageError, match=told):
        model.restore(tmp_path / "photo.png", written.format(tmp_path))


def test_what_a_reconstruction_lacks_is_given_back(model: Model) -> None:
    image, made = reachable(model), model.generate(1, seed=8).images
    for written in ("mask:box=4,4,9,12", "grey", "downscale:4", "blur:1", "mask:box=0,0,4,4|grey"):
        operator = built(written)
        seen = Seen.of(operator(image).detach(), operator, (16, 16))
        pasted = seen.pasted(made)
        assert pasted is not None
        before, after = ((seen.through(one) - seen.seen).square().mean() for one in (made, pasted))
        assert after < (0.4 if written[:2] in ("do", "bl") else 1e-9) * before
    assert Seen.of(image, built("noise"), (16, 16)).pasted(made) is None


def test_images_of_another_size_than_seen_are_told(model: Model) -> None:
    with pytest.raises(ImageError, match=r"Through the operator the generator's images are \(N, 3, 4, 4\)"):
        invert(reachable(model), model.generator, operator="downscale:4")


def test_several_answers_differ_and_replay(model: Model, tmp_path: Path) -> None:
    seen = built("downscale:8")(reachable(model)).detach()
    one, other = model.restore(seen, [{"name": "downscale", "options": {"factor": 8}}], 2, method=STEPS)
    assert not torch.equal(one.reconstructions, other.reconstructions)
    again = model.invert(seen, **other.settings)
    assert torch.equal(again.reconstructions, other.reconstructions)
    other.save(tmp_path)
    facts = PhotoFolder(tmp_path).facts()
    assert facts["settings"]["operator"] == [{"name": "downscale", "options": {"factor": 8}}]
    assert np.isfinite([*facts["metrics"].values()]).all()


def test_latents_held_to_the_prior_stay_nearer_to_it(model: Model) -> None:
    image = 3 * reachable(model)
    far, near = (
        invert(
            image, model.generator, None, {"name": "optimize", "options": {"steps": 20, "starts": 1, "prior": prior}},
            objective=make_objective({"mse": 1.0}, "none"),
        )
        for prior in (0.0, 1.0)
    )  # fmt: skip
    own = model.own_latents()
    assert own.mahalanobis(near.latents)[0] < 0.7 * own.mahalanobis(far.latents)[0]
    assert near.history[0][-1]["prior"] > 0
