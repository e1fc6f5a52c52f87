"""The objective against Equations 2 to 6 written out, and what it computes once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ganenc.encoders import pooled
from ganenc.latents import Latents
from ganenc.objectives import (
    COS,
    LPIPS,
    MSE,
    SSIM,
    Attention,
    CenterAttention,
    LatentTerm,
    Loss,
    NoAttention,
    Objective,
    View,
    build_objective,
    context_for,
)
from ganenc_registry import Registry, components
from ganenc_registry.errors import LatentsError, PluginError, SpecError, UnknownNameError, WeightsMissingError
from ganenc_registry.specs import LatentLoss, Map, ObjectiveSpec, Setting, Spec, Styles
from pydantic import Field
from rounding import close, tolerance
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from toys import ToyGenerator, toy_spec

SIZE = (3, 24, 24)
WEIGHTS = {"mse": 5.0, "cos": 3.0, "lpips": 2.0, "ssim": 1.0}


def pair(n: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.rand(n, *SIZE, generator=generator) * 2 - 1 for _ in range(2))  # type: ignore[return-value]


def losses(backbone: Any) -> dict[str, Loss]:
    return {"mse": MSE(), "cos": COS(), "lpips": LPIPS.of(context_for(backbone)), "ssim": SSIM()}


def make(backbone: Any, attention: Attention | None = None, latent: LatentTerm | None = None) -> Objective:
    built = {name: (WEIGHTS[name], loss) for name, loss in losses(backbone).items()}
    return Objective(attention or CenterAttention(), built, latent)


def test_the_total_is_that_of_equations_2_and_3(tiny_backbone: Any) -> None:
    target, view = pair()
    made = make(tiny_backbone)
    result = made(view, made.prepare(target))
    total = torch.zeros(3)
    for name, weight, at in (("image", 1, 0), ("at1", 0.375, 1), ("at2", 0.625, 2)):
        one, other = (CenterAttention().views(x)[at].image for x in (view, target))
        for loss, alone in losses(tiny_backbone).items():
            term = alone(one, alone.prepare(other))
            assert torch.allclose(result.terms[f"{name}/{loss}"], term, atol=1e-6)
            total += weight * WEIGHTS[loss] * term.detach()
    assert torch.allclose(result.per_sample, total, atol=1e-5)
    assert torch.allclose(result.total, total.mean(), atol=1e-5)
    assert torch.equal(result.terms["total"], result.per_sample)
    assert len(result.terms) == 3 * 4 + 1
    numbers = result.numbers()
    assert numbers["total"] == pytest.approx(total.mean().item(), abs=1e-5)
    assert numbers["at2/ssim"] == pytest.approx(result.terms["at2/ssim"].mean().item())


def test_large_images_are_looked_at_small_and_whole_pixels_in_full(tiny_backbone: Any) -> None:
    """Of 24 pixels, averaged to 12: LPIPS, SSIM and the crops see 12 alone, MSE and COS of the whole image all 24."""
    target, view = pair()
    whole, small = make(tiny_backbone), make(tiny_backbone)
    small.size = 12
    alike = tolerance(torch.float32, terms=3 * 24 * 24)
    reference = small.prepare(target)
    terms = small(view, reference).terms
    averaged = [one.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5)) for one in (target, view)]
    seen = whole(averaged[1], whole.prepare(averaged[0])).terms
    full = whole(view, whole.prepare(target)).terms
    for name in terms.keys() - {"total"}:
        wanted = full if name in ("image/mse", "image/cos") else seen
        assert torch.allclose(terms[name], wanted[name], rtol=alike), name
    part = small(view[1:], reference.select([1, 2])).terms
    assert all(torch.allclose(part[name], terms[name][1:], rtol=alike) for name in terms)
    # The difference at full size is that of the averages and that of what they leave out.
    left = [one - F.interpolate(few, scale_factor=2) for one, few in zip((target, view), averaged)]
    details = (left[0] - left[1]).square().mean((1, 2, 3))
    close(full["image/mse"], seen["image/mse"] + details, terms=3 * 24 * 24)


@pytest.mark.parametrize("view", ["image", "at1", "at2"])
@pytest.mark.parametrize("loss", list(WEIGHTS))
def test_every_term_gives_the_reconstruction_a_gradient(tiny_backbone: Any, view: str, loss: str) -> None:
    target, reconstruction = pair()
    made = make(tiny_backbone)
    result = made(reconstruction.requires_grad_(), made.prepare(target))
    (gradient,) = torch.autograd.grad(result.terms[f"{view}/{loss}"].sum(), reconstruction, retain_graph=True)
    assert torch.isfinite(gradient).all()
    assert (gradient.abs().amax((1, 2, 3)) > 0).all()
    (whole,) = torch.autograd.grad(result.total, reconstruction)
    assert whole.abs().max() > 0


def test_the_target_is_prepared_once_and_a_step_takes_one_pass(tiny_backbone: Any) -> None:
    class Counting(CenterAttention):
        prepared = 0

        def prepare(self, target: Tensor, **context: Any) -> Any:
            self.prepared += 1
            return super().prepare(target, **context)

    target, view = pair()
    attention = Counting()
    made = make(tiny_backbone, attention)
    reference = made.prepare(target)
    assert (attention.prepared, tiny_backbone.passes) == (1, 1)
    for step in range(3):
        made(view, reference)
        assert (attention.prepared, tiny_backbone.passes) == (1, step + 2)


class HostReads(TorchDispatchMode):
    """Counts the values that are read on the host, each of which would stop a stream of work on an accelerator."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_a_step_reads_nothing_on_the_host(tiny_backbone: Any) -> None:
    target, view = pair()
    made = make(tiny_backbone, latent=LatentTerm())
    w = torch.rand(3, 2, 4)
    with HostReads() as reads:
        reference = made.prepare(target)
        made(view.requires_grad_(), reference, latents={"w": w}, latents_reference={"w": -w}).total.backward()
    assert reads.count == 0
    with HostReads() as reads:
        float(view.detach().mean())
    assert reads.count == 1


def test_each_loss_is_called_once_on_all_views(tiny_backbone: Any) -> None:
    class Seen(MSE):
        def forward(self, view: Tensor, reference: Tensor) -> Tensor:
            shapes.append(tuple(view.shape))
            return super().forward(view, reference)

    shapes: list[tuple[int, ...]] = []
    target, view = pair(2)
    made = Objective(CenterAttention(), {"mse": (1.0, Seen())})
    made(view, made.prepare(target))
    assert shapes == [(6, *SIZE)]


class FocusAttention(Attention):
    """Weighs the image by a map of the target: the focus depends on the sample."""

    def prepare(self, target: Tensor, **context: Any) -> Any:
        return {"maps": [target.abs().mean(1, keepdim=True)], "labels": context.get("labels"), "name": "focus"}

    def views(self, image: Tensor, focus: Any) -> list[View]:
        return [View("image", 1.0, image), View("at1", 0.5, image * focus["maps"][0])]


@pytest.mark.parametrize("attention", [CenterAttention(), NoAttention(), FocusAttention()])
@pytest.mark.parametrize("indices", [[2, 0], torch.tensor([1]), [1, 1, 0, 2]])
def test_a_selected_reference_is_that_of_the_samples_alone(
    tiny_backbone: Any, attention: Attention, indices: Any
) -> None:
    target, view = pair()
    made = make(tiny_backbone, attention)
    chosen = made.prepare(target, labels=torch.arange(3)).select(indices)
    alone = made.prepare(target[indices])
    assert len(chosen) == len(indices)
    found, wanted = made(view[indices], chosen), made(view[indices], alone)
    assert torch.allclose(found.per_sample, wanted.per_sample, atol=1e-5)
    if isinstance(attention, FocusAttention):
        assert chosen.focus["labels"].tolist() == torch.as_tensor(indices).tolist()


def test_context_reaches_the_attention_and_references_move(tiny_backbone: Any) -> None:
    made = make(tiny_backbone, FocusAttention())
    reference = made.prepare(pair()[0], labels=torch.arange(3))
    assert reference.focus["labels"].tolist() == [0, 1, 2]
    moved = reference.to("meta")
    assert moved.losses["mse"].device.type == moved.focus["maps"][0].device.type == "meta"


def test_targets_keep_no_graph(tiny_backbone: Any) -> None:
    target, view = pair()
    target.requires_grad_()
    made = make(tiny_backbone)
    made(view.requires_grad_(), made.prepare(target)).total.backward()
    assert target.grad is None


def test_the_latent_loss_is_that_of_equations_4_to_6(tiny_backbone: Any) -> None:
    target, view = pair()
    generator = torch.Generator().manual_seed(1)
    shapes = {"w": (3, 6, 8), "const": (3, 4, 2, 2)}
    a, b = ({name: torch.randn(shape, generator=generator) for name, shape in shapes.items()} for _ in range(2))
    made = make(tiny_backbone, latent=LatentTerm(LatentLoss(parts={"w": 1.0, "const": 0.5})))
    reference = made.prepare(target)
    result = made(view, reference, latents=a, latents_reference=b)
    alone = made(view, reference)
    assert torch.equal(result.image, alone.per_sample)
    assert torch.equal(alone.image, alone.per_sample)
    wanted = alone.per_sample.detach().double().numpy()
    for name, weight in (("w", 1.0), ("const", 0.5)):
        x, y = (tensors[name].double().numpy().reshape(3, -1) for tensors in (a, b))
        mse = ((x - y) ** 2).mean(1)
        cos = 1 - (x * y).sum(1) / np.sqrt((x**2).sum(1) * (y**2).sum(1))
        assert result.terms[f"latent/{name}/mse"].numpy() == pytest.approx(mse, rel=1e-5)
        assert result.terms[f"latent/{name}/cos"].numpy() == pytest.approx(cos, rel=1e-5)
        wanted = wanted + 0.01 * weight * (5 * mse + 3 * cos)
    assert result.per_sample.detach().numpy() == pytest.approx(wanted, rel=1e-5)


def test_the_latent_loss_gives_both_sides_a_gradient() -> None:
    term = LatentTerm()
    a, b = (torch.randn(2, 3, 4, requires_grad=True) for _ in range(2))
    value, terms = term({"w": a}, {"w": b})
    assert list(terms) == ["latent/w/mse", "latent/w/cos"]
    for name, part in [*terms.items(), ("sum", value)]:
        for gradient in torch.autograd.grad(part.sum(), [a, b], retain_graph=True):
            assert gradient.abs().max() > 0, name


def test_the_latent_loss_leaves_out_settings_and_what_one_side_lacks() -> None:
    layout = (Styles(layers=2, dim=3), Map(channels=1, height=2, width=2), Setting(name="truncation", default=0.5))
    whole = {"w": torch.randn(2, 2, 3), "const": torch.randn(2, 1, 2, 2), "truncation": torch.rand(2)}
    _, terms = LatentTerm(LatentLoss(cos=0))(Latents(layout, whole), Latents(layout, {"w": torch.randn(2, 2, 3)}))
    assert list(terms) == ["latent/w/mse"]
    _, terms = LatentTerm(LatentLoss(mse=0))(Latents(layout, whole), Latents(layout, whole))
    assert list(terms) == ["latent/w/cos", "latent/const/cos"]


def test_latents_that_do_not_fit_are_errors() -> None:
    with pytest.raises(LatentsError, match="did you mean 'const'"):
        LatentTerm(LatentLoss(parts={"cons": 1.0}))({"const": torch.rand(1, 2)}, {"const": torch.rand(1, 2)})
    with pytest.raises(LatentsError, match=r"'w' is \(1, 2\) in the latents and \(1, 3\)"):
        LatentTerm()({"w": torch.rand(1, 2)}, {"w": torch.rand(1, 3)})
    with pytest.raises(LatentsError, match="share no part"):
        LatentTerm()({"w": torch.rand(1, 2)}, {"z": torch.rand(1, 2)})
    with pytest.raises(SpecError, match="compares nothing"):
        LatentTerm(LatentLoss(mse=0, cos=0))


def test_wrong_parts_of_an_objective_are_named(tiny_backbone: Any) -> None:
    class Scalar(MSE):
        def forward(self, view: Tensor, reference: Tensor) -> Tensor:
            return super().forward(view, reference).mean()

    class Uneven(NoAttention):
        def views(self, image: Tensor, focus: Any = None) -> list[View]:
            return [View("image", 1.0, image), View("half", 1.0, image[..., :12])]

    target, view = pair()
    made = make(tiny_backbone)
    with pytest.raises(SpecError, match="2 reconstructions cannot be compared with 3 targets"):
        made(view[:2], made.prepare(target))
    scalar = Objective(NoAttention(), {"mean": (1.0, Scalar())})
    with pytest.raises(SpecError, match="'mean' gives shape"):
        scalar(view, scalar.prepare(target))
    with pytest.raises(SpecError, match="half"):
        make(tiny_backbone, Uneven()).prepare(target)
    with pytest.raises(SpecError, match="no image loss"):
        Objective(NoAttention(), {"mse": (0.0, MSE())})


class TestBuild:
    """The objective of a spec."""

    @pytest.fixture
    def known(self, monkeypatch: pytest.MonkeyPatch, tiny_backbone: Any) -> Registry:
        test = self

        class Tiny(type(tiny_backbone)):  # type: ignore[misc]
            def __init__(self, *given: Any) -> None:
                super().__init__(*given)
                test.loaded += 1

        class Absent(Tiny):
            def __init__(self, *given: Any) -> None:
                raise WeightsMissingError("The weights of the backbone 'absent' are not on disk.")

        self.loaded = 0
        made = Registry()
        for name, kind in (("mse", MSE), ("cos", COS), ("lpips", LPIPS), ("ssim", SSIM)):
            made.add_value("loss", name, kind)
        made.add_value("attention", "none", NoAttention)
        made.add_value("attention", "center", CenterAttention)
        made.add_value("backbone", "tiny", Tiny, summary="small")
        made.add_value("backbone", "absent", Absent, summary="not here")
        monkeypatch.setattr(components, "registry", lambda: made)
        monkeypatch.setattr(pooled, "_loaded", {})
        return made

    @pytest.fixture
    def build(self, known: Registry, toy: Any) -> Any:
        def build(*, own: Any = None, **fields: Any) -> Objective:
            return build_objective(ObjectiveSpec.from_mapping(fields), toy, own_backbone=own)

        return build

    def test_from_plain_values(self, build: Any, tiny_backbone: Any) -> None:
        target, view = pair()
        built = build(losses=WEIGHTS, backbone="tiny", latent={"weight": 0.5, "parts": {"w": 1}})
        wanted = make(tiny_backbone)
        w = torch.randn(3, 2, 4)
        found = built(view, built.prepare(target), latents={"w": w}, latents_reference={"w": -w})
        plain = wanted(view, wanted.prepare(target)).per_sample
        latent = 0.5 * (5 * 4 * w.square().mean((1, 2)) + 3 * 2)
        assert torch.allclose(found.per_sample, plain + latent, atol=1e-4)
        assert self.loaded == 1
        assert build(losses={"mse": 1}, latent={"weight": 0}).latent is None

    def test_the_value_range_and_the_weights_of_views(self, known: Registry, tiny_backbone: Any) -> None:
        target, view = pair()
        generator = ToyGenerator(toy_spec().model_copy(update={"value_range": (0.0, 1.0)}))
        spec = ObjectiveSpec(attention={"options": {"weights": (1, 1)}})
        built = build_objective(spec, generator, own_backbone=tiny_backbone)
        wanted = make(tiny_backbone, CenterAttention.of(weights=(1, 1)))
        found = built((view + 1) / 2, built.prepare((target + 1) / 2)).per_sample
        assert torch.allclose(found, wanted(view, wanted.prepare(target)).per_sample, atol=1e-4)

    def test_the_backbone_is_loaded_only_if_a_loss_takes_one(self, build: Any) -> None:
        built = build(losses={"mse": 1, "lpips": 0}, attention="none", backbone="tiny")
        assert self.loaded == 0
        assert list(built.losses) == ["mse"]

    def test_an_attention_gets_the_backbone_it_asks_for(self, known: Registry, build: Any) -> None:
        class Asking(NoAttention):
            def __init__(self, *given: Any) -> None:
                super().__init__(*given)
                self.network = self.context.backbone

        known.add_value("attention", "asking", Asking, summary="takes it")
        built = build(losses={"lpips": 1}, attention="asking", own="tiny")
        assert built.attention.network is built.losses["lpips"].backbone
        assert self.loaded == 1

    def test_losses_and_attentions_have_options_of_their_own(self, known: Registry, build: Any) -> None:
        class Deep(Spec):
            depth: int = Field(1, ge=0)

        class Choosy(NoAttention):
            Options = Deep

        class Picky(MSE):
            Options = Deep

        known.add_value("attention", "choosy", Choosy, summary="takes an option")
        known.add_value("loss", "picky", Picky, summary="takes an option")
        losses = {"picky": {"weight": 3, "options": {"depth": 2}}, "again": {"name": "picky"}}
        built = build(losses=losses, attention={"name": "choosy", "options": {"depth": 4}})
        assert built.attention.options.depth == 4
        assert [built.losses[name].options.depth for name in losses] == [2, 1]
        assert built.weights == {"picky": 3.0, "again": 1.0}
        wrong = {"picky": {"options": {"deph": 4}}, "lpips": 1}
        with pytest.raises(SpecError, match=r"objective\.losses\.picky\.options\.deph: .*did you mean 'depth'"):
            build(losses=wrong, own="tiny")
        with pytest.raises(SpecError, match=r"objective\.attention\.options\.weights: .*there are no fields here"):
            build(losses={"lpips": 1}, attention={"name": "none", "options": {"weights": (1, 1)}}, own="tiny")
        with pytest.raises(SpecError, match=r"objective\.attention\.options\.depth: .*got 'deep'"):
            build(losses={"lpips": 1}, attention={"name": "choosy", "options": {"depth": "deep"}}, own="tiny")
        with pytest.raises(SpecError, match=r"objective\.backbone\.options\.side: "):
            build(losses={"lpips": 1}, backbone={"name": "tiny", "options": {"side": 3}})
        assert self.loaded == 0, "it is told before anything is loaded"

    def test_a_backbone_that_nobody_named_and_that_is_not_here_is_done_without(self, build: Any) -> None:
        with pytest.warns(UserWarning, match=r"goes on without lpips: The weights of .*'absent'") as told:
            built = build(own="absent")
        assert len(told) == 1
        assert list(built.losses) == ["mse", "cos", "ssim"]
        assert list(build(own="none").losses) == ["mse", "cos", "ssim"]
        assert "lpips" in build(own="none", backbone="tiny").losses
        for fields in ({"backbone": "absent"}, {"losses": {"lpips": 1}, "own": "absent"}):
            with pytest.raises(WeightsMissingError):
                build(**fields)

    def test_wrong_values_are_named(self, known: Registry, build: Any) -> None:
        with pytest.raises(UnknownNameError, match="did you mean 'ssim'"):
            build(losses={"sim": 1})
        with pytest.raises(UnknownNameError, match="did you mean 'center'"):
            build(losses={"mse": 1}, attention="centre")
        known.add_value("loss", "wrong", torch.nn.Identity, summary="no loss")
        with pytest.raises(PluginError, match=r"'wrong' .* subclass of "):
            build(losses={"wrong": 1})
