"""How freely an adapter may be written, and what is said of one that does not keep to its spec."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import NormalDist
from typing import Any

import ganenc
import pytest
import torch
from ganenc import save_pretrained
from ganenc.generators import Generator, build_generator, draw_normal, range_complaint
from ganenc.inversion import Optimize
from ganenc.latents import Latents
from ganenc_registry import Registry, registry
from ganenc_registry.errors import CheckpointError, LatentsError, PluginError, SpecError, UnknownNameError
from ganenc_registry.specs import Condition, EncoderSpec, GeneratorSpec, Map, Noise, Prior, RunSpec, Styles, Vector
from torch import Tensor, nn
from toys import make_objective

from adapters import networks


def spec_of(**fields: Any) -> GeneratorSpec:
    """A spec of 8x8 images with one vector, but for these fields."""
    base = {"family": "mine", "size": 8, "prior": Prior(dim=4), "layout": (Vector(dim=4),)}
    return GeneratorSpec(**{**base, **fields})


class Linear(Generator):
    """Images that are linear in z."""

    spec = spec_of()

    def __init__(self, spec: GeneratorSpec | None = None) -> None:
        super().__init__(spec)
        self.paint = networks.seeded(nn.Linear, 4, 3 * 8 * 8)

    def synthesize(self, latents: Any) -> Tensor:
        return self.paint(latents["z"]).reshape(-1, 3, 8, 8)


def giving(change: Callable[[Tensor], Any], **fields: Any) -> Generator:
    """A generator that gives its images changed."""

    class Changed(Linear):
        spec = spec_of(**fields)

        def synthesize(self, latents: Any) -> Any:
            return change(self.paint(latents["z"]).reshape(-1, 3, 8, 8))

    return Changed()


def mapping(make: Callable[[Tensor], Any], **fields: Any) -> Generator:
    """A generator whose map gives this."""

    class Mapped(Linear):
        spec = spec_of(**fields)

        def map(self, z: Tensor, **_: Any) -> Any:
            return make(z)

    return Mapped()


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The registry; what a test adds to it goes when the test ends."""
    monkeypatch.setattr(registry(), "_entries", dict(registry()._entries))
    return registry()


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda x: (x, x), ["a tuple of 2: (2, 3, 8, 8) of float32", "return the images alone"]),
        (lambda x: {"image": x}, ["a mapping of image", "return the images alone"]),
        (lambda x: x[:, :1], ["(N, 3, 8, 8)", "gave (2, 1, 8, 8)", "declare size=(8, 8) and channels=1"]),
        (lambda x: x[:, :, :, :7], ["gave (2, 3, 8, 7)", "declare size=(8, 7) and channels=3"]),
        (lambda x: x.permute(0, 2, 3, 1), ["gave (2, 8, 8, 3)", "`.permute(0, 3, 1, 2)`"]),
        (lambda x: x.flatten(1), ["gave (2, 192)", "`.reshape(-1, 3, 8, 8)`"]),
        (lambda x: x[:1], ["gave (1, 3, 8, 8) of float32 for 2 samples", "for each sample"]),
        (lambda x: (x * 127 + 128).byte(), ["gave (2, 3, 8, 8) of uint8", "floats from -1 to 1"]),
        (lambda x: x.detach().numpy(), ["a ndarray", "return a tensor"]),
        (lambda x: None, ["a NoneType", "return a tensor"]),
    ],
)
def test_images_of_another_kind_are_told_in_one_sentence(change: Callable[[Tensor], Any], parts: list[str]) -> None:
    generator = giving(change)
    with pytest.raises(SpecError) as caught:
        generator.synthesize(generator.sample(2))
    message = str(caught.value)
    assert message.startswith("mine declares images (N, 3, 8, 8)")
    assert message.count(". ") == 0, message
    for part in parts:
        assert part in message


def test_images_come_back_in_the_dtype_of_the_weights() -> None:
    assert giving(Tensor.double).synthesize(Linear().sample(1)).dtype == torch.float32
    generator = Linear().double()
    images = generator.synthesize(generator.sample(2).to(torch.float32))
    assert images.dtype == torch.float64


@pytest.mark.parametrize("cut", [Tensor.detach, lambda x: torch.tensor(x.tolist())])
def test_a_gradient_that_is_cut_is_noticed_where_it_is_needed(cut: Callable[[Tensor], Tensor]) -> None:
    generator = giving(cut).freeze()
    latents = generator.sample(1)
    assert generator.synthesize(latents).shape == (1, 3, 8, 8)
    free = latents.replace(z=latents["z"].clone().requires_grad_())
    with pytest.raises(SpecError, match=r"synthesize of mine lets no gradient through .* look for no_grad"):
        generator.synthesize(free)
    with torch.no_grad():
        generator.synthesize(free)
    Linear().synthesize(free).sum().backward()


def test_a_method_that_cannot_take_what_it_is_given_is_told_in_one_sentence() -> None:
    odd = type("Odd", (Linear,), {"map": lambda self, z, c: z})()
    with pytest.raises(
        PluginError, match=r"^The map of mine is given \(z\), .*'c'\); write `def map\(self, z, \*, labels"
    ):
        odd.sample(1)
    odd = type("Odd", (Linear,), {"synthesize": torch.no_grad()(lambda self: None)})()
    with pytest.raises(PluginError, match=r"^The synthesize of mine is given \(latents\), as its spec declares"):
        odd.synthesize(Linear().sample(1))
    noisy = type("Noisy", (Linear,), {"spec": spec_of(layout=(Vector(dim=4), Noise(shapes=((1, 8, 8),))))})()
    latents = noisy.sample(1)
    noisy.synthesize(latents)
    with pytest.raises(
        PluginError, match=r"given \(latents, noise\), .* write `def synthesize\(self, latents, \*, noise="
    ):
        noisy.synthesize(latents, noise="none")
    free = type("Free", (Linear,), {"synthesize": Linear.synthesize, "map": lambda self, z, **options: z})
    assert torch.equal(free().sample(1)["z"], Linear().sample(1)["z"])


def test_a_type_error_of_a_network_is_its_own() -> None:
    inside = type("Inside", (Linear,), {"synthesize": lambda self, latents: len(3)})()
    with pytest.raises(TypeError, match="has no len"):
        inside.synthesize(inside.sample(1))


def test_a_method_is_given_what_its_spec_declares_and_no_more() -> None:
    seen: list[dict[str, Any]] = []

    class Sees(Linear):
        def map(self, z: Tensor, **options: Any) -> Tensor:
            seen.append(options)
            return z

        def synthesize(self, latents: Any, **options: Any) -> Tensor:
            seen.append(options)
            return super().synthesize(latents)

    def told(generator: Generator, **options: Any) -> list[dict[str, Any]]:
        seen.clear()
        noise = options.pop("noise", "const")
        generator.synthesize(generator.map(torch.zeros(1, 4), **options), noise=noise)
        return seen

    assert told(Sees(spec_of()), noise="none") == [{}, {}]
    label = torch.tensor([1])
    (mapped, drawn) = told(Sees(spec_of(classes=2, truncation="styles")), labels=label, truncation=0.5)
    assert mapped == {"labels": label, "truncation": 0.5}
    assert drawn == {}
    noisy = Sees(spec_of(layout=(Vector(dim=4), Noise(shapes=((1, 8, 8),)))))
    assert told(noisy, noise=3) == [{}, {"noise": 3}]


def test_what_map_may_return() -> None:
    styles = (Styles(layers=3, dim=4), Map(channels=1, height=2, width=2))
    z = draw_normal(2, 4, seed=0)
    one = mapping(lambda z: z, layout=styles).map(z)
    assert torch.equal(one["w"], z[:, None].expand(-1, 3, -1))
    assert one.space == "w+"
    layered = mapping(lambda z: {"w": z[:, None].repeat(1, 3, 1), "const": z.view(-1, 1, 2, 2)}, layout=styles).map(z)
    assert torch.equal(layered["w"], one["w"])
    assert torch.equal(layered["const"].flatten(), z.flatten())
    assert torch.equal(mapping(lambda z: 2 * z).map(z)["z"], 2 * z)
    space = (Map(name="z", channels=1, height=2, width=2),)
    assert mapping(lambda z: z.view(-1, 1, 2, 2), layout=space).map(z)["z"].shape == (2, 1, 2, 2)
    two = (Vector(name="a", dim=1), Vector(name="b", dim=3))
    with pytest.raises(SpecError, match=r"map of mine gave \(2, 4\) of float32; return a dict .* \['a', 'b'\]"):
        mapping(lambda z: z, layout=two).map(z)
    with pytest.raises(SpecError, match=r"map of mine gave a list of 1: \(2, 4\) of float32"):
        mapping(lambda z: [z]).map(z)
    with pytest.raises(LatentsError, match="Part 'z' has shape"):
        mapping(lambda z: z[:, :3]).map(z)


def test_vectors_share_z_and_take_all_of_it() -> None:
    two = (Vector(name="a", dim=1), Vector(name="b", dim=3))
    z = draw_normal(2, 4, seed=0)

    class Two(Linear):
        spec = spec_of(layout=two)

    drawn = Two().map(z)
    assert torch.equal(torch.cat([drawn["a"], drawn["b"]], 1), z)

    class Short(Linear):
        spec = spec_of(layout=two, prior=Prior(dim=5))

    with pytest.raises(
        LatentsError, match=r"z of mine has 5 values, its vectors take {'a': 1, 'b': 3}: give it a `map`"
    ):
        Short().sample(1)


def test_a_uniform_prior_is_the_place_in_the_normal_distribution() -> None:
    class Uniform(Linear):
        spec = spec_of(prior=Prior(dim=4, kind="uniform"))

    z, normal = Uniform().draw(50, seed=3), draw_normal(50, 4, seed=3)
    wanted = [2 * NormalDist().cdf(value) - 1 for value in normal.flatten().tolist()]
    torch.testing.assert_close(z.flatten(), torch.tensor(wanted), atol=1e-6, rtol=0)


def test_labels_reach_a_condition_or_the_map_or_somebody_is_told() -> None:
    labelled = {"layout": (Vector(dim=4), Condition(dim=3)), "classes": 3}
    generator = mapping(lambda z: {"z": z}, **labelled)
    assert torch.equal(generator.sample(3, labels=torch.tensor([2, 0, 1]))["c"], torch.eye(3)[[2, 0, 1]])
    with pytest.raises(LatentsError, match="mine needs labels"):
        generator.map(generator.draw(1))
    deaf = type("Deaf", (Linear,), {"spec": spec_of(classes=3), "map": lambda self, z: z})()
    with pytest.raises(
        PluginError, match=r"map of mine is given \(z, labels\), .*unexpected keyword argument 'labels'"
    ):
        deaf.sample(1)
    with pytest.raises(LatentsError, match="no classes"):
        mapping(lambda z: z).map(torch.zeros(1, 4), labels=torch.tensor([0]))
    odd = mapping(lambda z: {"z": z}, layout=(Vector(dim=4), Condition(dim=2)), classes=3)
    with pytest.raises(LatentsError, match="no condition to embed labels in, or no `embed`"):
        odd.sample(1)


def test_labels_as_numbers() -> None:
    generator = mapping(lambda z: {"z": z}, layout=(Vector(dim=4), Condition(dim=3)), classes=3)
    numbers = torch.tensor([2, 0])
    for labels in (numbers, torch.eye(3)[numbers], torch.eye(3, dtype=torch.int64)[numbers]):
        assert torch.equal(generator.label_numbers(labels), numbers)
    with pytest.raises(LatentsError, match="one class a sample"):
        generator.label_numbers(torch.tensor([[0.9, 0.1, 0.0]]))


def test_an_embedding_that_takes_numbers_alone_serves_the_encoder() -> None:
    class Looked(Linear):
        spec = spec_of(layout=(Vector(dim=4), Condition(dim=5)), classes=3)

        def __init__(self, spec: GeneratorSpec | None = None) -> None:
            super().__init__()
            self.table = networks.seeded(nn.Embedding, 3, 5)

        def embed(self, labels: Tensor) -> Tensor:
            return self.table(labels)

    generator = Looked().freeze()
    blocks = [{"size": (8, 8), "in_channels": 4, "out_channels": 4}]
    encoder = ganenc.build_encoder(generator, blocks=blocks)
    assert torch.equal(encoder.embedding, generator.table.weight)


def test_a_map_that_is_all_there_is_learns_faster_than_a_constant() -> None:
    space, styles = Map(name="z", channels=1, height=2, width=2), Styles(layers=2, dim=4)
    assert EncoderSpec.mirror(spec_of(layout=(space,))).map_gain == 0.3
    assert EncoderSpec.mirror(spec_of(layout=(styles, space))).map_gain == 0.01
    assert EncoderSpec.mirror(spec_of(layout=(space,)), map_gain=1.0).map_gain == 1.0


def test_the_best_of_some_draws_starts_a_map_that_is_drawn() -> None:
    generator = registry().resolve("generator", "spatial")().freeze()
    drawn = generator.map(generator.draw(4, seed=0))
    images = generator.synthesize(drawn[2])
    method = Optimize.of(steps=1, rate=1e-6, draws=4)
    found = ganenc.invert(images, generator, method=method, objective=make_objective({"mse": 1.0}, "none"))
    torch.testing.assert_close(found.latents["z"], drawn["z"][2:3], atol=1e-4, rtol=0)


def test_z_of_the_prior_is_no_part_that_is_called_z() -> None:
    class Both(Linear):
        spec = spec_of(layout=(Styles(layers=2, dim=3), Vector(dim=2)))

        def map(self, z: Tensor) -> Any:
            return {"w": z[:, :3], "z": z[:, 2:]}

        def synthesize(self, latents: Any) -> Tensor:
            taken = torch.cat([latents["w"].mean(1)[:, :2], latents["z"]], 1)
            return self.paint(taken).reshape(-1, 3, 8, 8)

    generator = Both().freeze()
    drawn = generator.draw(4, seed=0)
    images = generator.synthesize(generator.map(drawn[1:2]))
    method = Optimize.of(steps=1, rate=1e-6, draws=4, space="z")
    found = ganenc.invert(images, generator, method=method, objective=make_objective({"mse": 1.0}, "none")).latents
    torch.testing.assert_close(found["z"], drawn[1:2, 2:], atol=1e-4, rtol=0)
    torch.testing.assert_close(found["w"], drawn[1:2, None, :3].expand(-1, 2, -1), atol=1e-4, rtol=0)


def test_truncation_that_a_map_does_not_take_is_refused() -> None:
    generator = type("Whole", (Linear,), {"spec": spec_of(truncation="styles"), "map": lambda self, z: z})()
    generator.sample(1)
    with pytest.raises(PluginError, match=r"map of mine is given \(z, truncation\), .*'truncation'\); write `def map"):
        generator.sample(1, truncation=0.5)
    with pytest.raises(LatentsError, match="mine takes a finite truncation, of 0 to 0 layers"):
        generator.map(torch.zeros(1, 4), truncation_layers=2)
    for plain in (Linear(), mapping(lambda z: z)):
        for options in ({"truncation": 0.5}, {"truncation_layers": 2}):
            with pytest.raises(LatentsError, match="The map of mine truncates no styles, as its spec declares"):
                plain.map(torch.zeros(1, 4), **options)


def test_noise_inside_is_drawn_from_a_seed_and_the_process_goes_on_as_it_would_have() -> None:
    generator = registry().resolve("generator", "noise-inside")().freeze()
    latents = generator.sample(3, seed=1)
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first, other = generator.synthesize(latents), generator.synthesize(latents, noise=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(generator.synthesize(latents, noise=5), other)
    assert not torch.allclose(first, other, atol=1e-3)
    drawn = [generator.synthesize(latents, noise="random") for _ in range(2)]
    assert not torch.allclose(*drawn, atol=1e-3)
    assert not torch.equal(torch.get_rng_state(), state)
    with pytest.raises(LatentsError, match=r"noise of noise-inside is .* it has no maps"):
        generator.synthesize(latents, noise=[torch.zeros(1)])


def test_noise_inside_is_the_same_in_every_thread() -> None:
    generator = registry().resolve("generator", "noise-inside")().freeze()
    many = [generator.sample(2, seed=seed) for seed in range(8)]
    alone = [generator.synthesize(latents) for latents in many]
    torch.manual_seed(7)
    state = torch.get_rng_state()
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(generator.synthesize, many * 4))
    assert all(torch.equal(a, b) for a, b in zip(together, alone * 4, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_mean_latents_teach_no_batch_norm() -> None:
    class Normed(Linear):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.frozen = nn.BatchNorm1d(4), nn.Dropout().eval()

        def map(self, z: Tensor) -> Tensor:
            return self.norm(z + 3)

    generator = Normed()
    center = generator.center()["z"]
    assert torch.equal(generator.norm.running_mean, torch.zeros(4))
    torch.testing.assert_close(center, torch.full((1, 4), 3.0), atol=0.2, rtol=0)
    assert generator.norm.training
    assert not generator.frozen.training


def test_a_network_that_draws_nothing_is_left_to_itself() -> None:
    generator, calls = Linear().freeze(), []
    generator.paint.register_forward_hook(lambda module, taken, made: calls.append(len(made)))
    generator.synthesize(generator.sample(3))
    generator.synthesize(generator.sample(3))
    assert calls == [3, 1, 3]  # One alone, to see that it is the same.


def test_a_generator_needs_a_spec() -> None:
    class Bare(Generator):
        def synthesize(self, latents: Any) -> Tensor:
            return latents["z"]

    with pytest.raises(SpecError, match="Bare has no spec: hand a GeneratorSpec to super"):
        Bare()
    assert Bare(spec_of()).spec == Linear().spec == spec_of()


def test_a_spec_that_is_wrong_in_python_is_told_as_one_in_a_file_is() -> None:
    with pytest.raises(SpecError, match=r"sise: there is no such field \(did you mean 'size'\?\)"):
        GeneratorSpec(family="mine", sise=8, prior=Prior(dim=1), layout=(Vector(dim=1),))
    with pytest.raises(SpecError, match=r"^prior\.dim: .*greater than 0 \(got 0\)\.$"):
        GeneratorSpec(family="mine", size=8, prior={"dim": 0}, layout=(Vector(dim=1),))
    assert spec_of(size=28).size == (28, 28)


@pytest.mark.parametrize(
    ("declared", "low", "high", "told"),
    [
        ((-1, 1), 0.0, 1.0, True),
        ((-1, 1), -1.0, 1.0, False),
        ((-1, 1), -0.3, 1.6, False),
        ((-1, 1), 0.0, 255.0, True),
        ((0, 1), -1.0, 1.0, True),
        ((0, 1), 0.0, 1.0, False),
        ((0, 255), 3.0, 250.0, False),
    ],
)
def test_a_range_that_lies_is_told(declared: tuple[float, float], low: float, high: float, told: bool) -> None:
    images = torch.linspace(low, high, 2 * 3 * 64).reshape(2, 3, 8, 8)
    complaint = range_complaint(images, spec_of(value_range=declared))
    assert bool(complaint) is told
    if told:
        assert f"declares values from {declared[0]:g} to {declared[1]:g}" in complaint
        assert f"hold {low:.2f} to {high:.2f}" in complaint


def test_a_run_looks_at_the_range_before_it_trains(tmp_path: Path) -> None:
    plain = {"losses": {"mse": 1.0}, "attention": {"name": "none"}}
    run = RunSpec.from_mapping({"task": "pretrain", "steps": 1, "objective": plain, "data": {"batch": 1}})
    encoder = ganenc.build_encoder(Linear(), blocks=[{"size": (8, 8), "in_channels": 4, "out_channels": 4}])
    with pytest.warns(UserWarning, match="mine declares values from -1 to 1, and its images hold 0"):
        ganenc.pretrain(giving(torch.sigmoid), run, tmp_path / "a", encoder=encoder)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="mine")
        ganenc.pretrain(giving(torch.tanh), run, tmp_path / "b", encoder=encoder)


def test_half_precision_is_for_the_network_alone() -> None:
    generator = registry().resolve("generator", "half")().freeze()
    images = generator.synthesize(generator.sample(1, seed=4))
    assert images.dtype == torch.float16
    objective = make_objective({"mse": 1.0}, "none")
    found = ganenc.invert(images, generator, method=Optimize.of(steps=3, draws=2), objective=objective)
    assert found.latents["z"].dtype == torch.float32
    assert found.reconstructions.dtype == torch.float16
    encoder = ganenc.build_encoder(generator)
    assert all(weight.dtype == torch.float32 for weight in encoder.parameters())
    assert encoder(images)["z"].dtype == torch.float32


def test_a_folder_needs_a_registered_class(own: Registry, tmp_path: Path) -> None:
    generator = Linear()
    with pytest.warns(UserWarning, match=r"put @ganenc.register\('generator', 'mine'\) on its class"):
        save_pretrained(generator, tmp_path / "mine")
    with pytest.raises(UnknownNameError, match=r"no generator 'mine'.*`ganenc --import SCRIPT`"):
        ganenc.load_generator(tmp_path / "mine")
    ganenc.register("generator", "mine")(Linear)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_pretrained(generator, tmp_path / "mine")
    assert type(ganenc.load_generator(tmp_path / "mine")) is Linear


def test_a_family_is_built_from_its_spec(own: Registry) -> None:
    class Fixed(Linear):
        def __init__(self, spec: GeneratorSpec) -> None:
            super().__init__()

    class Deaf(Linear):
        def __init__(self) -> None:
            super().__init__()

    own.add_value("generator", "deaf", Deaf)
    with pytest.raises(SpecError, match=r"'deaf' is built with a spec of its own, which differs from this in family;"):
        build_generator(spec_of(family="deaf"))
    own.add_value("generator", "odd", lambda size: Linear())
    with pytest.raises(PluginError, match=r"'odd' is built .*, .*'spec'\); write `def __init__\(self, spec=None\)`"):
        build_generator(spec_of(family="odd"))
    ganenc.register("generator", "mine")(Fixed)
    assert build_generator(spec_of()).spec == spec_of()
    with pytest.raises(SpecError, match=r"'mine' is built with a spec of its own, which differs from this in size;"):
        build_generator(spec_of(size=16))


def test_one_registration_serves_as_family_and_model(own: Registry, tmp_path: Path) -> None:
    ganenc.register("generator", "mine")(Linear)
    by_family = ganenc.load_generator("mine")
    assert type(by_family) is Linear
    assert not by_family.paint.weight.requires_grad
    with pytest.raises(CheckpointError, match="stylegan2 is a family without a spec of its own"):
        ganenc.load_generator("stylegan2")
    del own._entries["generator", "mine"]

    class Wrapped(Linear):
        def __init__(self, paint: nn.Module) -> None:
            super().__init__()
            self.paint = paint

    ganenc.register("model", "mine")(lambda: Wrapped(networks.seeded(nn.Linear, 4, 3 * 8 * 8)))
    generator = ganenc.load_generator("mine")
    with torch.no_grad():
        generator.paint.weight.mul_(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_pretrained(generator, tmp_path)
    again = ganenc.load_generator(tmp_path)
    assert type(again) is Wrapped
    assert torch.equal(again.paint.weight, generator.paint.weight)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_subclass_of_another_size_may_ask_its_parent(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Enlarged(Linear):
        spec = spec_of(size=16, layout=(Vector(name="code", dim=4),))

        def map(self, z: Tensor) -> Any:
            return {"code": super().map(z)["z"]}

        def synthesize(self, latents: Any) -> Tensor:
            small = super().synthesize(Latents(Linear.spec.layout, {"z": latents["code"]}), noise="const")
            return small.repeat_interleave(2, 2).repeat_interleave(2, 3)

    class Small(Linear):
        def map(self, z: Tensor) -> Any:
            return Latents(Linear.spec.layout, {"z": z})

    Enlarged.__bases__ = (Small,)
    generator = Enlarged().freeze()
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiled)
    images = generator.synthesize(generator.sample(2))
    assert images.shape == (2, 3, 16, 16)
    assert torch.equal(images[:, :, ::2, ::2], Linear().synthesize(Linear().sample(2)))


def test_a_network_in_memory_is_a_model_by_a_function(own: Registry, tmp_path: Path) -> None:
    network = networks.seeded(nn.Linear, 4, 3 * 8 * 8)

    class Wrapped(Generator):
        spec = spec_of()

        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def synthesize(self, latents: Any) -> Tensor:
            return self.network(latents["z"]).reshape(-1, 3, 8, 8).tanh()

    ganenc.register("model", "from-memory")(lambda: Wrapped(network))
    generator = ganenc.load_generator("from-memory")
    assert isinstance(generator, Wrapped)
    assert not any(weight.requires_grad for weight in generator.parameters())
    with pytest.raises(CheckpointError, match="from-memory has no encoder yet"):
        ganenc.load_encoder("from-memory")
    blocks = [{"size": (8, 8), "in_channels": 4, "out_channels": 4}]
    plain = {"losses": {"mse": 1.0}, "attention": {"name": "none"}}
    fields = {"task": "pretrain", "model": "from-memory", "objective": plain, "data": {"batch": 1}, "steps": 1}
    run = RunSpec.from_mapping({**fields, "encoder": {"overrides": {"blocks": blocks}}})
    assert ganenc.execute(run, tmp_path / "run").spec.size == (8, 8)
    ganenc.register("model", "no-generator")(lambda: 3)
    with pytest.raises(PluginError, match="model 'no-generator' builds a int"):
        ganenc.load_generator("no-generator")
