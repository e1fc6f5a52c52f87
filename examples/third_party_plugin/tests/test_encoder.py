"""The encoder that mirrors the GAN: built, trained by the run beside the tests, and used."""

from pathlib import Path

import ganenc
import pytest
import torch
from ganenc.measures import psnr
from ganenc_registry.specs import Map, Vector

STEPS = 40


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[ganenc.Generator, ganenc.Encoder, Path]:
    """The model that the run names, and an encoder after some steps of it."""
    folder = tmp_path_factory.mktemp("runs") / "ripples"
    run = ganenc.RunSpec.from_file(Path(__file__).parents[1] / "run.yaml")
    encoder = ganenc.execute(run.model_copy(update={"steps": STEPS}), folder)
    return ganenc.load_generator(run.model), encoder, folder


def test_the_encoder_mirrors_the_generator(trained: tuple[ganenc.Generator, ganenc.Encoder, Path]) -> None:
    generator, encoder, _ = trained
    assert generator.spec.size == (48, 40)
    assert [type(part) for part in encoder.spec.parts] == [Vector, Map]
    assert encoder.spec.blocks[0].size == (48, 40)
    assert encoder.spec.channels == 1


def test_the_trained_encoder_rebuilds_images_better_than_the_average_does(
    trained: tuple[ganenc.Generator, ganenc.Encoder, Path],
) -> None:
    generator, _, folder = trained
    encoder = ganenc.load_encoder(folder / "encoder")
    with torch.no_grad():
        images = generator.synthesize(generator.sample(8, seed=99))
        average = generator.synthesize(generator.center()).expand_as(images)
    done = ganenc.invert(images, generator, encoder, method="encode")
    found, before = (sum(psnr(images, made, value_range=(0.0, 1.0))) / 8 for made in (done.reconstructions, average))
    assert found > before + 1
    assert set(done.latents.tensors) == {"z", "start"}
