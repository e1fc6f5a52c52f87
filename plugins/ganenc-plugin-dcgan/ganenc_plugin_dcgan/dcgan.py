"""A generator that is a row of layers: DCGAN (Radford et al., 2016) and its many relatives."""

from __future__ import annotations

from ganenc.foreign import Checkpoint
from ganenc.generators import Generator, NoiseChoice
from ganenc.latents import Latents
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import GeneratorSpec
from torch import Tensor, nn
from typing_extensions import Self

from ganenc_plugin_dcgan import reading
from ganenc_plugin_dcgan.evidence import weigh
from ganenc_plugin_dcgan.layers import join, module_of
from ganenc_plugin_dcgan.specs import RowOptions, inputs_of, row_spec, shapes_of

__all__ = ["DCGAN"]


class DCGAN(Generator):
    """A row of layers, as its spec lists them.

    Latents: ``z`` (N, dim) and, where there are classes, ``c``: rows with a single 1, or rows of a table.
    """

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__(spec)
        options = RowOptions.from_mapping(spec.options, where="the options of a dcgan")
        self._labels = options.labels
        whole = row_spec(
            options.layers, z_dim=spec.prior.dim, labels=options.labels, classes=spec.classes,
            value_range=spec.value_range,
        )  # fmt: skip
        for name in ("size", "channels", "layout"):
            if getattr(spec, name) != getattr(whole, name):
                raise SpecError(f"The layers of this dcgan give {name} {getattr(whole, name)}; its spec differs.")
        if (options.labels is None) != (not spec.classes):
            raise SpecError("A dcgan with classes says in `labels` how they go in, and one without says nothing.")
        if options.labels and options.labels.kind == "table":
            self.table = nn.Embedding(spec.classes, options.labels.dim)
        elif options.labels and options.labels.dim != spec.classes:
            raise SpecError(f"Rows with a single 1 are as long as there are classes, {spec.classes}.")
        shapes = shapes_of(options.layers, inputs_of(spec.prior.dim, options.labels))
        self.layers = nn.ModuleList(map(module_of, options.layers, shapes))

    def embed(self, labels: Tensor) -> Tensor:
        """Labels, int64 (N,) or rows (N, classes) => rows (N, dim)."""
        rows = self.label_rows(labels)
        return rows @ self.table.weight.to(rows.dtype) if self._labels and self._labels.kind == "table" else rows

    def synthesize(self, latents: Latents, *, noise: NoiseChoice = "const") -> Tensor:
        """Latents => images (N, C, H, W)."""
        x = latents["z"].to(self.dtype)
        if self._labels:
            x = join(x, latents["c"].to(self.dtype), self._labels)
        for layer in self.layers:
            x = layer(x)
        return x

    @classmethod
    def recognises(cls, checkpoint: Checkpoint) -> bool:
        """Whether the file holds a plain row of layers, from a vector to an image."""
        return reading.recognises(checkpoint)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """Build the generator that the file holds: as the settings beside it say, or as the
        statistics of its norms tell, or by convention."""
        read, guessed, settled = reading.find(checkpoint)
        generator = cls.from_tensors(*reading.convert(read, guessed)).eval()
        if not settled:
            told = weigh(guessed, generator)
            if told.file != guessed.file:
                generator = cls.from_tensors(*reading.convert(read, told)).eval()
            guessed = told
        generator.taken_as = guessed.text(checkpoint.path.name)
        reading.check_samples(checkpoint, generator, guessed)
        return generator
