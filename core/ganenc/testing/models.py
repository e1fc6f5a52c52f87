"""The checks of a model: a folder that loads into a generator, with an encoder that knows it; a release; a function."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ganenc_registry import registry
from ganenc_registry.specs import EncoderSpec, GeneratorSpec, Release

from ganenc.generators import made_by
from ganenc.models import ENCODER, has_config, load_encoder, load_generator, model_hash, read_config, release_folder
from ganenc.testing.checks import declare, expect, skip
from ganenc.testing.subjects import Subject

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from ganenc.encoders import Encoder
    from ganenc.generators import Generator

__all__ = ["CHECKS", "ModelCase"]

PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".npy")
IMAGES = 4


class ModelCase:
    """A model to check.

    Args:
        subject: the path of a folder, a release, or a function that makes a generator.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    @cached_property
    def value(self) -> Path | Release | Callable[[], Generator]:
        """The folder, the release or the function."""
        value: Path | Release | Callable[[], Generator] = self.subject.resolve()
        return value

    @property
    def folder(self) -> Path:
        """The folder of a shipped model."""
        if not isinstance(self.value, Path):
            skip(
                "it is a release, whose files are not ours"
                if isinstance(self.value, Release)
                else "a function makes it"
            )
        return self.value

    def load(self) -> Generator:
        """Load it; releases only where their files, or what they were converted to, are here."""
        if isinstance(self.value, Path):
            return load_generator(self.value)
        if not isinstance(self.value, Release):
            return made_by(self.value, self.subject.name).freeze()
        name = self.subject.contribution.name if self.subject.contribution else ""
        folder = release_folder(name)
        files = all((folder / file.name).is_file() for file in self.value.files)
        if not name or not (files or has_config(folder)):
            skip("its files are not on this machine")
        return load_generator(name)

    @cached_property
    def spec(self) -> GeneratorSpec:
        """What the config or the release says that the generator is."""
        if isinstance(self.value, Release):
            return self.value.generator
        if not isinstance(self.value, Path):
            return self.generator.spec
        where = str(self.value / "config.json")
        return GeneratorSpec.from_mapping(read_config(self.value)["spec"], where=where)

    @cached_property
    def generator(self) -> Generator:
        """The generator, loaded."""
        return self.load()

    @cached_property
    def encoder(self) -> Encoder:
        """Its encoder, loaded."""
        if not (self.folder / ENCODER / "config.json").is_file():
            skip("it has no encoder")
        return load_encoder(self.folder)

    def samples(self) -> tuple[Tensor, Tensor | None]:
        """Images that it draws, and their labels."""
        import torch

        labels = self.generator.draw_labels(IMAGES, seed=11)
        with torch.no_grad():
            return self.generator.synthesize(self.generator.sample(IMAGES, seed=11, labels=labels)), labels


def is_a_folder_a_release_or_a_function(case: ModelCase) -> None:
    """It is the Path of a model folder that is there, a Release, or a function that makes a generator."""
    value = case.value
    sound = isinstance(value, Path | Release) or callable(value)
    expect(sound, f"It is {value!r}, where the Path of a folder, a Release or a function is expected.")
    there = not isinstance(value, Path) or (value / "config.json").is_file()
    expect(there, f"{value} has no config.json; write the folder with save_pretrained, and ship it with the package.")


def spec_names_an_installed_family(case: ModelCase) -> None:
    """Its spec can be read, and names a family that is installed."""
    families = registry().names("generator")
    known = case.spec.family in families or callable(case.value)
    expect(known, f"Its family {case.spec.family!r} is not installed, only {families}; depend on the family's plugin.")


def licence_is_told(case: ModelCase) -> None:
    """Its spec says under which licence its weights are."""
    if isinstance(case.value, Release) and case.spec.licence == "unknown":
        skip("it is a release, and those who published it tell none")
    if callable(case.value):
        skip("a function makes it, and its weights are not handed on")
    known = case.spec.licence.strip() not in ("", "unknown")
    expect(known, "Its spec has no licence; say in spec.licence under which its weights may be used.")


def encoder_can_be_declared(case: ModelCase) -> None:
    """The encoder that mirrors it can be declared, and comes back from JSON."""
    spec = EncoderSpec.mirror(case.spec)
    expect(EncoderSpec.from_json(spec.to_json()) == spec, "The mirrored EncoderSpec comes back changed from JSON.")


def holds_no_pickle(case: ModelCase) -> None:
    """A shipped folder holds nothing that could run code."""
    found = [path.name for path in sorted(case.folder.rglob("*")) if path.suffix.lower() in PICKLES]
    expect(not found, f"The folder holds {found[:1]}, which can run code when it is read; ship safetensors alone.")


def loads_twice_alike(case: ModelCase) -> None:
    """It loads, twice with the same finite weights, frozen, as its spec says."""
    generator, again = case.generator, case.load()
    expect(model_hash(generator) == model_hash(again), "Loaded twice it has other weights; load them from a file.")
    if isinstance(case.value, Path):
        expect(generator.spec == case.spec, "The generator that is loaded has another spec than the config's.")
    broken = [name for name, weight in generator.named_parameters() if not bool(weight.isfinite().all())]
    expect(not broken, f"The weight {broken[:1]} holds NaN or infinity; ship a copy saved before training diverged.")
    learning = [name for name, weight in generator.named_parameters() if weight.requires_grad]
    expect(not learning and not generator.training, "The generator that is loaded is not frozen; see freeze().")


def images_differ_and_are_finite(case: ModelCase) -> None:
    """Its samples are finite, of the size in its spec, and differ from one another."""
    images, _ = case.samples()
    wanted = (IMAGES, case.spec.channels, *case.spec.size)
    expect(tuple(images.shape) == wanted, f"Samples are {tuple(images.shape)}, the spec says {wanted}; fix the spec.")
    expect(images.isfinite().all(), "Samples hold NaN or infinity; check the weights.")
    low, high = case.spec.value_range
    spread = float(images.std(0).mean()) / (high - low)
    expect(
        spread > 0.005, f"Samples differ by {spread:.2%} of the value range on average; check that weights are trained."
    )


def encoder_fits_it(case: ModelCase) -> None:
    """Its encoder loads, fits it, and was trained for these weights."""
    from ganenc.encoders import check_fits

    check_fits(case.encoder.spec, case.generator.spec)
    info = read_config(case.folder / ENCODER).get("info", {})
    origin, own = info.get("generator", ""), model_hash(case.generator)
    same = not origin or origin == own or len(origin) != len(own)
    expect(same, f"Its encoder was trained for the weights {origin[:12]}, not for these, {own[:12]}; train it anew.")


def encoder_rebuilds_its_images(case: ModelCase) -> None:
    """One pass of its encoder rebuilds its images better than its average image does."""
    import torch

    encoder, generator = case.encoder, case.generator
    images, labels = case.samples()
    with torch.no_grad():
        made = generator.synthesize(generator.complete(encoder(images, labels=labels), labels=labels))
        center = generator.center(labels=labels)
        average = generator.synthesize(center if labels is not None else center.expand(IMAGES))
    found, known = (float((one - images).square().mean()) for one in (made, average))
    expect(
        found < known, f"Its encoder rebuilds with a mean square error of {found:.3g}, the average image {known:.3g}."
    )


CHECKS = (
    *declare("model", is_a_folder_a_release_or_a_function, stage="static", gate=True),
    *declare("model", spec_names_an_installed_family, stage="static", gate=True),
    *declare("model", licence_is_told, encoder_can_be_declared, holds_no_pickle, stage="static"),
    *declare("model", loads_twice_alike, gate=True),
    *declare("model", images_differ_and_are_finite, encoder_fits_it, encoder_rebuilds_its_images),
)
