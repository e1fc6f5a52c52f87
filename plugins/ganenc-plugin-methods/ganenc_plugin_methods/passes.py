"""The inverter ``restyle``: several passes of an encoder, each of which sees what the one before rebuilt."""

from __future__ import annotations

from typing import ClassVar

import torch
from ganenc.encoders import Encoder
from ganenc.generators import Generator
from ganenc.inversion import Inversion, Inverter, Task, by_size, need_encoder
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import Spec
from pydantic import Field
from typing_extensions import Self

from ganenc_plugin_methods.restyle import RefiningNetwork, plus, start_image

__all__ = ["Restyle"]

PIXELS = 1 << 20
"""Of the photos at once."""
PASSES = 3
"""Of an encoder that was made for one."""


class Restyle(Inverter):
    """ReStyle's passes (Alaluf et al., 2021) and E2Style's stages: each sees the photos beside what was rebuilt, and
    adds to the latents. An encoder that sees photos alone adds what it says of them beyond what it says of what was
    rebuilt: a half, a third and so on of it, as all of it overshoots (not in the paper)."""

    needs_encoder: ClassVar[bool] = True
    needs_objective: ClassVar[bool] = False

    class Options(Spec):
        """How often it looks."""

        passes: int | None = Field(
            None, ge=1, le=1000, description="passes; by default as many as the encoder was trained for, or 3"
        )

    def settled(self, generator: Generator, encoder: Encoder | None) -> Self:
        network = need_encoder(encoder, "restyle").network
        known = network.passes if isinstance(network, RefiningNetwork) else PASSES
        passes = self.options.passes or known
        if isinstance(network, RefiningNetwork) and network.bounded and passes > known:
            raise SpecError(f"method.options.passes: this encoder has {known} stages, and {passes} are asked for.")
        return type(self)(self.Options(passes=passes), self.context)

    def at_once(self, generator: Generator, encoder: Encoder | None) -> int:
        return by_size(generator, PIXELS)

    @torch.no_grad()
    def work(self, task: Task) -> Inversion:
        """See :meth:`Inverter.work`; objective and seed play no part."""
        encoder, generator = need_encoder(task.encoder), task.generator
        passes: int = self.options.passes
        if isinstance(encoder.network, RefiningNetwork):
            network, seen = encoder.network, encoder.seen(task.images)
            start = encoder.start.to(generator.device)
            latents = plus(start.expand(len(seen)), network.first(seen, start_image(encoder, generator)))
        else:
            alone = latents = encoder(task.images, labels=task.labels)
        for index in range(1, passes + 1):
            whole = generator.complete(latents, labels=task.labels)
            made = generator.synthesize(whole)
            task.tell(index, passes, {})
            if index == passes:
                break
            if isinstance(encoder.network, RefiningNetwork):
                latents = plus(latents, network.again(seen, encoder.seen(made), index))
            else:
                again = encoder(made, labels=task.labels)
                latents = plus(latents, {name: (alone[name] - again[name]) / (index + 1) for name in alone.tensors})
        return Inversion(whole, made)
