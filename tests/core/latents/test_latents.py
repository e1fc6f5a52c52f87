"""Latents: parts and samples, spaces, and files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from ganenc.latents import Latents
from ganenc_registry.errors import LatentsError
from ganenc_registry.specs import Condition, Layout, Map, Noise, Setting, Styles, Vector
from rounding import close
from safetensors.torch import load_file, save_file

LAYOUT: Layout = (
    Styles(layers=3, dim=4),
    Map(channels=2, height=4, width=5),
    Setting(name="truncation", default=1.0, holds="truncation"),
    Noise(shapes=((1, 4, 5), (1, 8, 10))),
)
HASH = "a" * 64


def make(n: int = 4, seed: int = 0, **more: torch.Tensor) -> Latents:
    rng = torch.Generator().manual_seed(seed)
    shapes = {"w": (3, 4), "const": (2, 4, 5), "truncation": (), "noise.0": (1, 4, 5), "noise.1": (1, 8, 10)}
    tensors = {name: torch.randn(n, *shape, generator=rng) for name, shape in shapes.items()}
    return Latents(LAYOUT, {**tensors, **more})


def equal(a: Latents, b: Latents) -> bool:
    return (
        a.space == b.space
        and a.layout == b.layout
        and set(a.tensors) == set(b.tensors)
        and all(torch.equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a.tensors)
    )


def test_a_part_is_indexed_by_its_name() -> None:
    latents = make()
    assert latents["w"].shape == (4, 3, 4)
    assert "w" in latents
    assert "z" not in latents
    with pytest.raises(LatentsError, match="hold no 'konst' \\(did you mean 'const'"):
        latents["konst"]


@pytest.mark.parametrize("index", [1, -1, slice(1, 3), [0, 2], torch.tensor([3, 0]), torch.tensor([1, 0, 0, 1]).bool()])
def test_samples_are_indexed_in_every_part(index: int | slice | list[int] | torch.Tensor) -> None:
    latents = make()
    picked = latents[index]
    rows = torch.arange(4)[[index] if isinstance(index, int) else index]
    assert len(picked) == len(rows)
    for name in latents.tensors:
        expected = torch.stack([latents[name][int(row)] for row in rows])
        assert torch.equal(picked[name], expected)


def test_a_sample_that_is_not_there_is_an_error() -> None:
    with pytest.raises(LatentsError, match="a part by its name"):
        make()[make()[0]]  # type: ignore[call-overload]
    with pytest.raises(LatentsError, match="hold 4 samples; 4 asks"):
        make()[4]


def test_iterating_gives_one_sample_after_another() -> None:
    latents = make()
    samples = list(latents)
    assert [len(sample) for sample in samples] == [1] * 4
    assert equal(Latents.cat(samples), latents)


def test_cat_stacks_samples_in_order() -> None:
    first, second = make(2, seed=1), make(3, seed=2)
    both = Latents.cat(iter([first, second]))
    assert len(both) == 5
    assert equal(both[:2], first)
    assert equal(both[2:], second)
    with pytest.raises(LatentsError, match="no latents to stack"):
        Latents.cat([])


def test_lerp_is_linear_and_takes_a_weight_for_each_sample() -> None:
    a, b = make(seed=1), make(seed=2)
    assert equal(a.lerp(b, 0.0), a)
    assert equal(a.lerp(b, 1.0), b)
    weights = torch.tensor([0.0, 0.25, 0.5, 1.0])
    mixed = a.lerp(b, weights)
    for name in a.tensors:
        for i, weight in enumerate(weights.tolist()):
            expected = a[name][i].double() * (1 - weight) + b[name][i].double() * weight
            torch.testing.assert_close(mixed[name][i].double(), expected, atol=1e-6, rtol=0)


def test_only_what_is_alike_is_combined() -> None:
    latents = make()
    with pytest.raises(LatentsError, match="'w\\+' and 'w' cannot be combined"):
        latents.lerp(latents.tie(), 0.5)
    with pytest.raises(LatentsError, match="'w' and 'w\\+' cannot be combined"):
        Latents.cat([latents.tie(), latents])
    with pytest.raises(LatentsError, match="different parts"):
        latents.lerp(latents.only("w"), 0.5)
    other = Latents((Vector(dim=4), *LAYOUT), latents.tensors)
    with pytest.raises(LatentsError, match="different parts"):
        Latents.cat([latents, other])


def test_tie_takes_the_mean_over_the_layers_and_lies_in_w() -> None:
    latents = make()
    tied = latents.tie()
    mean = latents["w"].double().sum(1) / 3
    assert tied.space == "w"
    for layer in range(3):
        close(tied["w"][:, layer], mean.float(), terms=3)
    assert torch.equal(tied["const"], latents["const"])
    assert Latents((Vector(dim=3),), {"z": torch.ones(2, 3)}).tie().space == "z"


def test_spaces_follow_the_layout_and_are_checked() -> None:
    assert make().space == "w+"
    assert Latents((Vector(dim=3), Condition(dim=2)), {"z": torch.ones(2, 3)}).space == "z"
    assert Latents(LAYOUT, {}, space="w").space == "w"
    with pytest.raises(LatentsError, match="no latent space 'p'"):
        Latents(LAYOUT, {}, space="p")


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"konst": torch.ones(1, 2, 4, 5)}, "no part 'konst' \\(did you mean 'const'"),
        ({"w": torch.ones(1, 4)}, "'w' has shape \\(1, 4\\); the layout wants \\('N', 3, 4\\)"),
        ({"const": torch.ones(1, 2, 5, 4)}, "'const' has shape"),
        ({"truncation": torch.tensor(1.0)}, "'truncation' has shape \\(\\)"),
        ({"noise": torch.ones(1, 1, 4, 5)}, "no part 'noise'"),
        ({"noise.2": torch.ones(1, 1, 4, 5)}, "no part 'noise.2'"),
        ({"w": torch.ones(1, 3, 4), "truncation": torch.ones(2)}, "different numbers of samples"),
    ],
)
def test_what_does_not_fit_the_layout_is_refused(tensors: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(LatentsError, match=message):
        Latents(LAYOUT, tensors)


def test_noise_maps_are_given_all_or_none() -> None:
    latents = make()
    maps = latents.noise()
    assert maps is not None
    assert [tuple(one.shape) for one in maps] == [(4, 1, 4, 5), (4, 1, 8, 10)]
    assert torch.equal(maps[1], latents["noise.1"])
    assert latents.only("w").noise() is None
    assert Latents((Vector(dim=3),), {}).noise() is None
    with pytest.raises(LatentsError, match="Only 1 of the 2 noise maps"):
        latents.only("w", "noise.1").noise()


def test_replace_only_and_copies() -> None:
    latents = make()
    more = latents.only("w").replace(const=torch.zeros(4, 2, 4, 5))
    assert set(more.tensors) == {"w", "const"}
    copy = latents.clone()
    copy["w"].zero_()
    assert latents["w"].abs().sum() > 0
    grown = latents.replace(w=latents["w"].clone().requires_grad_())
    assert grown["w"].requires_grad
    assert not grown.detach()["w"].requires_grad
    assert latents.to(torch.float64)["const"].dtype == torch.float64


def test_expand_shows_one_sample_many_times() -> None:
    one = make(1)
    many = one.expand(3)
    assert len(many) == 3
    assert torch.equal(many["const"][2], one["const"][0])
    with pytest.raises(LatentsError, match="hold 4 samples; only one can be seen as 3"):
        make().expand(3)


def test_the_same_latents_come_back_from_a_file(tmp_path: Path) -> None:
    for latents in (make(), make().tie(), make().only("w").to(torch.bfloat16), make(1).expand(5)):
        latents.save(tmp_path / "a.safetensors", model=HASH)
        assert equal(Latents.load(tmp_path / "a.safetensors", model=HASH), latents)
    same = torch.ones(2, 3)
    shared = Latents((Vector(name="a", dim=3), Vector(name="b", dim=3)), {"a": same, "b": same})
    shared.save(tmp_path / "b.safetensors")
    assert equal(Latents.load(tmp_path / "b.safetensors", model=HASH), shared)


def test_a_file_is_plain_safetensors_that_says_what_it_holds(tmp_path: Path) -> None:
    from safetensors import safe_open

    latents = make()
    latents.save(tmp_path / "a.safetensors", model=HASH)
    assert torch.equal(load_file(tmp_path / "a.safetensors")["w"], latents["w"])
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["space"] == "w+"
    assert metadata["model"] == HASH
    assert json.loads(metadata["layout"])[0] == {"kind": "styles", "name": "w", "layers": 3, "dim": 4, "idle": []}


def test_latents_of_another_model_are_refused(tmp_path: Path) -> None:
    make().save(tmp_path / "a.safetensors", model=HASH)
    with pytest.raises(LatentsError, match="belong to the model aaaaaaaaaaaa, not to bbbbbbbbbbbb"):
        Latents.load(tmp_path / "a.safetensors", model="b" * 64)


def test_what_is_no_latents_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    make().save(path)
    whole = path.read_bytes()
    for size in (0, 5, 200, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(LatentsError, match="cannot be read"):
            Latents.load(path)
    with pytest.raises(LatentsError, match="cannot be read"):
        Latents.load(tmp_path / "missing.safetensors")
    with pytest.raises(LatentsError, match="cannot be read"):
        Latents.load(tmp_path)
    save_file({"w": torch.ones(1, 3, 4)}, path)
    with pytest.raises(LatentsError, match="holds no latents"):
        Latents.load(path)
    for layout in ("", "[]x", '[{"kind": "stiles"}]'):
        save_file({"w": torch.ones(1, 3, 4)}, path, {"format": "ganenc-latents", "layout": layout})
        with pytest.raises(LatentsError, match=r"layout in .* damaged"):
            Latents.load(path)
    layout = json.dumps([LAYOUT[0].model_dump()])
    save_file({"w": torch.ones(1, 2, 4)}, path, {"format": "ganenc-latents", "layout": layout})
    with pytest.raises(LatentsError, match="'w' has shape \\(1, 2, 4\\)"):
        Latents.load(path)


def test_what_else_is_said_of_latents_goes_along_and_survives_the_file(tmp_path: Path) -> None:
    plain = make(2)
    info = {"transform": {"matrix": [[0.1, 0, -3.25], [0, 0.1, 7]]}, "photo": "größe.png"}
    latents = Latents(plain.layout, plain.tensors, info=info)
    latents.tie().lerp(latents.tie(), 0.5).select(1).clone().save(tmp_path / "a.safetensors")
    loaded = Latents.load(tmp_path / "a.safetensors")
    assert loaded.info == info
    other = Latents(plain.layout, plain.tensors, info={**info, "photo": "other.png"})
    assert Latents.cat([latents, other]).info == {"transform": info["transform"]}
    assert latents.info == info
    plain.save(tmp_path / "b.safetensors")
    assert Latents.load(tmp_path / "b.safetensors").info == {}
    layout = json.dumps([LAYOUT[0].model_dump()])
    for damaged in ("[1]", "{"):
        metadata = {"format": "ganenc-latents", "layout": layout, "info": damaged}
        save_file({"w": torch.ones(1, 3, 4)}, tmp_path / "c.safetensors", metadata)
        with pytest.raises(LatentsError, match=r"info in .* damaged"):
            Latents.load(tmp_path / "c.safetensors")
