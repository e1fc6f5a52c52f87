"""The model that a user holds: whatever a photo is read from, the same pixels; what is done leaves what it says."""

from __future__ import annotations

import html
import io
import json
import re
from pathlib import Path
from typing import Any

import ganenc
import numpy as np
import pytest
import torch
from ganenc.editing import Direction
from ganenc.encoders import build_encoder
from ganenc.inversion import CenterAligner, Finetune, Inverter, PhotoFolder, Task
from ganenc.measures import PSNR
from ganenc.models import save_pretrained
from ganenc.objectives import Backbone
from ganenc_registry.errors import (
    CheckpointError,
    GanencError,
    ImageError,
    LatentsError,
    SpecError,
    UnknownNameError,
    WeightsMissingError,
)
from ganenc_registry.specs import Spec
from PIL import Image
from torch import Tensor
from toys import ColourBackbone, ToyColours, ToyGenerator, small_encoder, toy_spec

QUICK = {"name": "finetune", "options": {"steps": 3}}
TUNE = {"name": "tune", "options": {"steps": 3, "rate": 0.01}}


@pytest.fixture
def model(known: Any, monkeypatch: pytest.MonkeyPatch) -> ganenc.Model:
    monkeypatch.setattr("ganenc.generators.generator.CENTER_DRAWS", 1000)
    known.add_value("backbone", "colours", ColourBackbone)
    generator = ToyGenerator(toy_spec((16, 24)))
    torch.manual_seed(0)
    return ganenc.Model(generator, build_encoder(generator), source="toys", info={"backbone": "colours"})


@pytest.fixture
def picture() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


class TestRead:
    def test_a_photo_is_the_same_from_whatever_it_comes(
        self, model: ganenc.Model, picture: Image.Image, tmp_path: Path
    ) -> None:
        (tmp_path / "photo.png").write_bytes(png(picture))
        tensor = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
        sources: list[Any] = [
            tmp_path / "photo.png", str(tmp_path / "photo.png"), png(picture), picture, np.asarray(picture), tensor,
            tensor / 127.5 - 1,
        ]  # fmt: skip
        whole = ganenc.images.read(tmp_path / "photo.png")
        cut = CenterAligner().transform(whole, (16, 24))
        for source in sources:
            photo, aligned = model.read(source), model.read(source, align="center")
            assert torch.equal(photo.target, ganenc.images.read(tmp_path / "photo.png", size=(16, 24)))
            assert torch.equal(aligned.target, cut.apply(whole))
            assert (photo.transform, aligned.transform) == (None, cut)
        assert model.read(sources[0]).name == "photo.png"

    def test_a_tensor_of_the_right_size_stays_as_it_is(self, model: ganenc.Model) -> None:
        target = torch.randn(3, 16, 24)
        assert torch.equal(model.read(target).target, target)
        photo = model.read(target)
        assert model.read(photo) is photo

    def test_a_photo_is_decoded_once(
        self, model: ganenc.Model, picture: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "photo.png").write_bytes(png(picture))
        opened: list[Any] = []
        true = Image.open
        monkeypatch.setattr(Image, "open", lambda *given, **named: opened.append(given) or true(*given, **named))
        photo = model.read(tmp_path / "photo.png", align="attention")
        assert photo.put_back(photo.target) is not None
        assert len(opened) == 1

    def test_what_is_put_back_is_the_photo_around_the_reconstruction(self, model: ganenc.Model) -> None:
        whole = torch.rand(3, 64, 80) * 2 - 1
        align = {"name": "attention", "options": {"attention": "none", "margin": 0}}
        photo = model.read(whole, align=align)
        assert photo.read_with == {"fit": "cover", "align": align}
        back = photo.put_back(torch.zeros(3, 16, 24))
        assert back is not None
        assert back.shape == whole.shape
        assert (back == 0).float().mean() > 0.5
        assert model.read(whole).put_back(torch.zeros(3, 16, 24)) is None

    @pytest.mark.parametrize(
        ("align", "kind", "words"),
        [
            ("centre", UnknownNameError, "did you mean 'center'"),
            ({"name": "attention", "options": {"margn": 1}}, SpecError, r"align\.options\.margn.*'margin'"),
            ({"nam": "attention"}, SpecError, r"align\.nam: .*'name'"),
        ],
    )
    def test_a_wrong_alignment_is_named(
        self, model: ganenc.Model, align: Any, kind: type[GanencError], words: str
    ) -> None:
        with pytest.raises(kind, match=words):
            model.read(torch.zeros(3, 16, 24), align=align)


class TestLatents:
    def test_those_of_other_tools_are_taken_wherever_ours_are(self, model: ganenc.Model, tmp_path: Path) -> None:
        drawn = model.generate(2, seed=1)
        w = drawn.latents["w"]
        np.savez(tmp_path / "projected_w.npz", w=w[:1].numpy())
        torch.save({"latent": w[0]}, tmp_path / "a.pt")
        np.save(tmp_path / "a.npy", w[0].numpy())
        with torch.no_grad():
            for name in ("projected_w.npz", "a.pt", "a.npy"):
                found = model.latents(tmp_path / name)
                assert found.model == model.hash
                assert torch.equal(model.generator.synthesize(found), drawn.images[:1])
                edited = model.edit(tmp_path / name, Direction(
                    "x", [model.generator.spec.layout[0]], {"w": torch.ones_like(w[0])}, space="w+",
                ), [0.0])  # fmt: skip
                assert torch.allclose(edited.images, drawn.images[:1], atol=1e-5)

    def test_draws_are_mapped(self, model: ganenc.Model, tmp_path: Path) -> None:
        z = torch.randn(3, model.generator.spec.prior.dim)
        np.savez(tmp_path / "z.npz", z=z.numpy())
        assert torch.allclose(model.latents(tmp_path / "z.npz")["w"], model.generator.map(z)["w"], atol=1e-6)

    def test_an_array_is_a_photo_where_it_fits_no_latents(self, model: ganenc.Model, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", np.zeros((16, 24, 3), np.uint8))
        np.save(tmp_path / "w.npy", model.generate(1).latents["w"].numpy())
        assert model.latents_file(tmp_path / "a.npy") is None
        assert model.latents_file(tmp_path / "w.npy") == tmp_path / "w.npy"
        assert (model.read(tmp_path / "a.npy").target == -1).all()

    def test_one_of_several_directions_is_picked_by_its_number(self, model: ganenc.Model, tmp_path: Path) -> None:
        dim = model.generator.spec.layout[0].dim  # type: ignore[union-attr]
        path = tmp_path / "components_w.npz"
        np.savez(path, lat_comp=np.eye(3, dim, dtype=np.float32)[:, None])
        assert len(model.directions(path)) == 3
        assert model.direction(f"{path}:1").tensors["w"][0].argmax() == 1
        with pytest.raises(SpecError, match=r"holds 3 directions; pick one .*npz:0"):
            model.direction(path)


class TestInvert:
    def test_it_gives_pictures_numbers_and_settings_that_replay_it(self, model: ganenc.Model) -> None:
        photos = [torch.rand(3, 16, 24) * 2 - 1, torch.rand(3, 30, 30) * 2 - 1]
        done = model.invert(photos, QUICK, seed=3, align="center")
        assert len(done) == 2
        assert [one.image.size for one in done] == [(24, 16), (24, 16)]
        assert set(done.metrics) == {"psnr", "ssim", f"lpips-{ColourBackbone.name}"}
        values = PSNR()(done.targets, done.reconstructions)
        assert [one.metrics["psnr"] for one in done] == pytest.approx(values)
        assert done.metrics["psnr"] == pytest.approx(sum(values) / 2)
        assert done.settings["align"] == {"name": "center", "options": {}}
        again = model.invert(photos, **json.loads(json.dumps(done.settings)))
        assert torch.equal(again.latents["w"], done.latents["w"])
        assert again.settings == done.settings

    def test_one_is_shown_as_html_with_its_name_escaped(
        self, model: ganenc.Model, picture: Image.Image, tmp_path: Path
    ) -> None:
        path = tmp_path / "a<b>&.png"
        picture.save(path)
        one = model.invert(path, "encode")
        shown = one._repr_html_()
        assert html.escape("a<b>&.png") in shown
        assert "<b>&" not in shown
        assert len(re.findall("<img", shown)) == 3
        assert repr(one) == "Inverted(a<b>&.png by encode with toys)"

    def test_several_have_no_one_picture(self, model: ganenc.Model) -> None:
        done = model.invert(torch.zeros(2, 3, 16, 24), "encode")
        with pytest.raises(ImageError, match=r"These are 2 photos; pick one"):
            _ = done.image
        with pytest.raises(IndexError):
            done[2]

    @pytest.mark.parametrize("method", ["encode", QUICK])
    def test_what_is_saved_is_read_again(self, model: ganenc.Model, tmp_path: Path, method: Any) -> None:
        done = model.invert(torch.rand(3, 40, 50) * 2 - 1, method, align="center")
        done.save(tmp_path)
        folder = PhotoFolder(tmp_path)
        assert folder.is_done
        assert folder.has_page
        latents = folder.latents(model=model.hash)
        assert torch.allclose(model.generator.synthesize(latents), done.reconstructions, rtol=0, atol=1e-6)
        made = folder.picture(folder.RECONSTRUCTION)
        assert (made - done.reconstructions[0].clamp(-1, 1)).abs().max() < 1.01 / 255
        assert folder.picture(folder.PHOTO).shape == (3, 40, 50)
        assert (tmp_path / folder.ATTENTION).is_file() == (method != "encode")
        facts = folder.facts()
        assert facts["settings"] == json.loads(json.dumps(done.settings))
        assert facts["metrics"] == pytest.approx(done.metrics)
        assert facts["transform"] == latents.info["transform"]
        done.report(tmp_path / "page.html")
        assert (tmp_path / "page.html").read_text() == (tmp_path / folder.PAGE).read_text()

    def test_what_an_inversion_before_left_goes(self, model: ganenc.Model, tmp_path: Path) -> None:
        model.invert(torch.rand(3, 40, 50) * 2 - 1, QUICK, align="center").save(tmp_path)
        model.invert(torch.zeros(3, 16, 24), "encode").save(tmp_path, pages=False)
        kept = {path.name for path in tmp_path.iterdir()}
        assert kept == {"inversion.json", "latents.safetensors", "reconstruction.png", "target.png"}

    def test_several_leave_a_folder_each(self, model: ganenc.Model, tmp_path: Path) -> None:
        model.invert(torch.zeros(2, 3, 16, 24), "encode").save(tmp_path, pages=False)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["0000-photo", "0001-photo"]

    def test_an_inverter_at_hand_is_taken(self, model: ganenc.Model) -> None:
        done = model.invert(torch.zeros(3, 16, 24), Finetune.of(steps=2))
        assert len(done.history[0]) == 2

    def test_labels_are_one_each_or_one_for_all_and_checked_once(self, known: Any) -> None:
        generator = ToyColours()
        model = ganenc.Model(generator, small_encoder(generator), backbone="none")
        done = model.invert(torch.zeros(2, 3, *generator.spec.size), "encode", labels=1)
        assert done.labels is not None
        assert done.labels.tolist() == [1, 1]
        assert model.labels([0, 2], 2).tolist() == [0, 2]  # type: ignore[union-attr]
        with pytest.raises(LatentsError, match=r"\[9\] are no classes of toy-colours"):
            model.invert(torch.zeros(3, *generator.spec.size), "encode", labels=[9])


class Unavailable(Backbone):
    """Its weights are nowhere."""

    def __init__(self, *given: Any) -> None:
        raise WeightsMissingError("The weights of far-away are not here; connect once.")

    def forward(self, images: Tensor) -> Any:
        raise AssertionError


class TestBackbone:
    def test_without_weights_the_work_goes_on_and_says_so(self, model: ganenc.Model, known: Any) -> None:
        known.add_value("backbone", "far-away", Unavailable)
        own = ganenc.Model(model.generator, model.encoder, info={"backbone": "far-away"})
        with pytest.warns(UserWarning, match="goes on without lpips: .* far-away are not here"):
            done = own.invert(torch.zeros(3, 16, 24), QUICK)
        with pytest.warns(UserWarning, match="LPIPS is left out: .* far-away are not here"):
            assert set(done.metrics) == {"psnr", "ssim"}
        assert not any("lpips" in term for term in done.history[0][0])
        chosen = ganenc.Model(model.generator, model.encoder, backbone="far-away")
        with pytest.raises(WeightsMissingError, match="far-away are not here"):
            chosen.invert(torch.zeros(3, 16, 24), QUICK)
        none = ganenc.Model(model.generator, model.encoder, backbone="none")
        assert set(none.invert(torch.zeros(3, 16, 24), "encode").metrics) == {"psnr", "ssim"}
        assert none.metric_backbone() is None

    def test_one_that_is_not_there_is_told_at_once(self, model: ganenc.Model) -> None:
        with pytest.raises(UnknownNameError, match="did you mean 'colours'"):
            ganenc.Model(model.generator, backbone="colour")


class TestEdit:
    def test_a_strip_goes_along_a_direction(self, model: ganenc.Model, tmp_path: Path) -> None:
        (way,) = ganenc.editing.find_by_pca(model.generator, 1, n=100)
        done = model.invert(torch.zeros(3, 16, 24), "encode")
        edited = model.edit(done, way, [-1.0, 0.0, 1.0])
        assert torch.allclose(edited.images[1], done.reconstructions[0], atol=1e-6)
        assert edited.strip.shape == (3, 16, 4 * 26 - 2), "the photo and three steps"
        written = edited.save(tmp_path, animations=["gif"])
        assert set(written) == {"strip", "latents", "gif"}
        told = json.loads((tmp_path / "edit.json").read_text())
        assert (told["direction"], told["model_hash"], told["strengths"]) == (way.name, model.hash, [-1.0, 0.0, 1.0])
        saved = ganenc.Latents.load(written["latents"], model=model.hash)
        assert saved.tensors.keys() == edited.latents.tensors.keys()
        assert all(torch.equal(saved[name], edited.latents[name]) for name in saved.tensors)

    def test_latents_a_folder_or_a_photo_are_where_it_begins(self, model: ganenc.Model, tmp_path: Path) -> None:
        (way,) = ganenc.editing.find_by_pca(model.generator, 1, n=100)
        done = model.invert(torch.zeros(3, 16, 24), "encode")
        done.save(tmp_path / "one")
        for start in (done, done.latents, tmp_path / "one", tmp_path / "one" / "latents.safetensors"):
            edited = model.edit(start, way, [2.0])
            assert torch.allclose(edited.latents["w"], way.apply(done.latents, 2.0)["w"])
        two = done.latents.expand(2)
        with pytest.raises(LatentsError, match="these are 2"):
            model.edit(two, way)
        other = model.edit(done, way, [1.0]).latents
        assert model.mix(done, other, [0]).strip.shape[2] == 3 * 26 - 2
        assert len(model.interpolate(done, other, 4).latents) == 4


class TestTuned:
    """Photos that were rebuilt with weights of their own."""

    @pytest.fixture
    def way(self, model: ganenc.Model) -> Direction:
        styles = model.generator.spec.layout[0]
        return Direction("up", [styles], {"w": torch.ones(styles.layers, styles.dim)}, space="w+", model=model.hash)

    def test_whatever_is_left_of_one_makes_the_same_pixels(
        self, model: ganenc.Model, picture: Image.Image, way: Direction, tmp_path: Path, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr("ganenc.editing.edited.FRAMES", 2)
        done = model.invert([picture, picture.rotate(180)], TUNE)
        inverted = done[1]
        inverted.save(tmp_path / "one")
        kept = {name: tensor.clone() for name, tensor in model.generator.state_dict().items()}
        for bare in (inverted.latents, done.latents[0]):
            with pytest.raises(LatentsError, match="give the inversion"):
                model.edit(bare, way)
        for start in (inverted, tmp_path / "one", model.latents(tmp_path / "one" / PhotoFolder.LATENTS)):
            edited = model.edit(start, way, [0.0, 2.0])
            torch.testing.assert_close(edited.images[:1], inverted.reconstructions)
            written = edited.save(tmp_path / "edited")
            first, last = model.latents(written["latents"])
            again = [model.edit(one, way, [0.0]).images for one in (first, last)]
            torch.testing.assert_close(torch.cat(again), edited.images)
        edited.animate(tmp_path / "edited.gif")
        assert all(torch.equal(tensor, kept[name]) for name, tensor in model.generator.state_dict().items())

    def test_a_folder_tells_of_it_and_refuses_anothers(
        self, model: ganenc.Model, picture: Image.Image, way: Direction, tmp_path: Path
    ) -> None:
        one, other = (model.invert(some, TUNE) for some in (picture, picture.rotate(180)))
        for name, done in (("one", one), ("other", other)):
            done.save(tmp_path / name)
        folder, file = PhotoFolder(tmp_path / "one"), tmp_path / "one" / PhotoFolder.TUNING
        found = folder.tuning(folder.latents(), model=model.hash)
        assert {name: tensor.tolist() for name, tensor in found.items()} == {
            name: tensor.tolist() for name, tensor in one.tuning[0].items()
        }
        long = [sum(float(tensor.square().sum()) for tensor in some) ** 0.5 for some in (
            found.values(), (model.generator.get_parameter(name) for name in found)
        )]  # fmt: skip
        told = folder.facts()["tuning"]
        assert told == {
            "tensors": len(found),
            "values": sum(tensor.numel() for tensor in found.values()),
            "change": pytest.approx(long[0] / long[1]),
        }
        assert "weights that were tuned" in (tmp_path / "one" / PhotoFolder.PAGE).read_text()
        other_model = ganenc.Model(ToyGenerator(toy_spec((16, 24)), seed=3), backbone="none")
        with pytest.raises(GanencError, match="model"):
            other_model.edit(tmp_path / "one", way)
        with pytest.raises(GanencError, match="is of the model"):
            other_model.edit(one, way)
        with pytest.raises(CheckpointError, match="of the model"):
            folder.tuning(folder.latents(), model=other_model.hash)
        file.write_bytes((tmp_path / "other" / PhotoFolder.TUNING).read_bytes())
        with pytest.raises(CheckpointError, match="not the one of the latents"):
            model.edit(tmp_path / "one", way)
        file.write_bytes(file.read_bytes()[:-9])
        with pytest.raises(CheckpointError, match="tuning"):
            model.edit(tmp_path / "one", way)
        file.unlink()
        with pytest.raises(CheckpointError, match="tuning"):
            model.edit(tmp_path / "one", way)
        for combined in (lambda: model.mix(one, other, [1]), lambda: model.interpolate(one, model.generate().latents)):
            with pytest.raises(LatentsError, match="differently tuned"):
                combined()
        model.invert(picture, "encode").save(tmp_path / "other")
        assert not (tmp_path / "other" / PhotoFolder.TUNING).exists()

    def test_photos_that_share_one_are_mixed(self, model: ganenc.Model, picture: Image.Image) -> None:
        method = {"name": "tune", "options": {**TUNE["options"], "together": True}}
        one, other = model.invert([picture, picture.rotate(180)], method)
        between = model.interpolate(one, other, 3)
        torch.testing.assert_close(between.images[:1], one.reconstructions)
        torch.testing.assert_close(between.images[2:], other.reconstructions)
        assert model.mix(one, other, [1]).strip.ndim == 3


class TestGenerateAndEvaluate:
    def test_latents_make_the_same_pixels_again(self, model: ganenc.Model) -> None:
        drawn = model.generate(3, seed=5)
        again = torch.cat([model.generator.synthesize(one) for one in drawn.latents])
        assert torch.equal(again, drawn.images)
        assert torch.equal(model.generate(2, seed=5, first=1).images, drawn.images[1:])
        model.generator.spec = model.generator.spec.model_copy(update={"truncation": "none"})
        with pytest.raises(SpecError, match="has no truncation"):
            model.generate(1, truncation=0.5)
        for call in (
            lambda: model.generate(1.5),
            lambda: model.generate(0),
            lambda: model.generate(1, seed=0.5),
            lambda: model.generate(1, first=-1),
            lambda: model.evaluate(samples=2.0, metrics=["psnr"]),
            lambda: model.interpolate(drawn.latents[0], drawn.latents[1], steps=1.5),
        ):
            with pytest.raises(SpecError, match="is a whole number"):
                call()
        with pytest.raises(SpecError, match="Truncation is of samples"):
            model.evaluate(drawn.images, metrics=["psnr"], truncation=0.5)
        assert max(map(len, map(repr, (drawn, model)))) < 200

    def test_scores_are_those_of_the_images(self, model: ganenc.Model) -> None:
        photos = torch.rand(4, 3, 16, 24) * 2 - 1
        found = model.evaluate(photos, metrics=["psnr"])
        made = model.invert(photos, "encode").reconstructions
        (measured,) = found.ways.values()
        assert [row["psnr"] for row in measured.scores.rows] == pytest.approx(PSNR()(photos, made), abs=1e-4)
        (measured,) = model.evaluate(samples=4, metrics=["psnr"], folds=2).ways.values()
        assert len(measured.scores.folds) == 2
        with pytest.raises(SpecError, match="one of the two"):
            model.evaluate()


class TestLoad:
    def test_a_saved_model_comes_back_whole(self, model: ganenc.Model, known: Any, tmp_path: Path) -> None:
        known.add_value("generator", "toy", ToyGenerator)
        model.save(tmp_path / "toys")
        found = ganenc.load(tmp_path / "toys")
        assert found.hash == model.hash
        assert found.encoder is not None
        assert found.backbone == "colours"
        assert found.licence == model.licence
        assert torch.equal(found.encode(torch.zeros(3, 16, 24))["w"], model.encode(torch.zeros(3, 16, 24))["w"])
        assert ganenc.load(tmp_path / "toys", backbone="none").metric_backbone() is None

    def test_an_encoder_of_other_weights_is_told(self, model: ganenc.Model, known: Any, tmp_path: Path) -> None:
        known.add_value("generator", "toy", ToyGenerator)
        model.save(tmp_path / "toys")
        assert model.encoder is not None
        save_pretrained(model.encoder, tmp_path / "other", info={"generator": "0" * 64})
        with pytest.warns(UserWarning, match=r"was trained for the weights 000000000000"):
            ganenc.load(tmp_path / "toys", encoder=tmp_path / "other")


def test_a_method_of_a_third_party_takes_its_options(model: ganenc.Model, known: Any) -> None:
    class Mean(Inverter):
        needs_objective = False

        class Options(Spec):
            shade: float = 1.0

        def work(self, task: Task) -> ganenc.Inversion:
            latents = task.generator.complete(task.generator.center().expand(len(task.images)))
            return ganenc.Inversion(latents, task.generator.synthesize(latents) * self.options.shade)

    known.add_value("inverter", "mean", Mean)
    done = model.invert(torch.zeros(3, 16, 24), {"name": "mean", "options": {"shade": 0.5}})
    assert torch.equal(done.reconstructions, model.mean_image * 0.5)
    assert done.objective is None
    with pytest.raises(SpecError, match=r"method\.options\.shad: .* \(did you mean 'shade'\?\)"):
        model.invert(torch.zeros(3, 16, 24), {"name": "mean", "options": {"shad": 0.5}})
