"""The checks of an encoder's block: sizes, styles, conditions, gradients, and an encoder made of it that learns."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from ganenc_registry.components import Context
from ganenc_registry.specs import EncoderSpec, GeneratorSpec
from torch import Tensor, nn

from ganenc.encoders import BlockStyles, Encoder, EncoderBlock, build_encoder
from ganenc.testing.checks import declare, expect, fail
from ganenc.testing.comparing import (
    draw,
    expect_batch_is_apart,
    expect_close,
    expect_gradient,
    expect_runs_elsewhere,
    expect_unchanged,
    perturbed,
    seeded,
    shape_text,
    state_of,
)
from ganenc.testing.examples import ExampleGenerator, conditional_spec, styled_spec, vector_spec
from ganenc.testing.learning import expect_learning
from ganenc.testing.subjects import Subject

__all__ = ["CHECKS", "BlockCase"]


class BlockCase:
    """A block to check, built into places of encoders: with styles, at odd sizes, conditioned on a class.

    Args:
        subject: the class of the block.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    def block(self, spec: EncoderSpec, index: int) -> EncoderBlock:
        """The block at one place, with weights that all have an effect, in eval mode."""
        with seeded(index):
            made = self.built(spec, index)
        if not isinstance(made, EncoderBlock):
            fail(f"Building it gives a {type(made).__name__}, where a ganenc.EncoderBlock is expected; subclass that.")
        perturbed(made)
        return made.eval()

    def built(self, spec: EncoderSpec, index: int) -> EncoderBlock:
        """The block at one place, as it is built."""
        made: EncoderBlock = self.subject.resolve()(None, Context(block=spec.block_spec(index)))
        return made

    @cached_property
    def specs(self) -> list[EncoderSpec]:
        """Encoders with styles, of odd grey images, with a condition, and with other ways to halve and to add."""
        styled = EncoderSpec.mirror(styled_spec())
        strided = {**styled.to_mapping(), "residual": 0.111, "blur": True, "equalized": False}
        blocks = [{**block.to_mapping(), "downscale": "stride"} for block in styled.blocks[:-1]]
        strided["blocks"] = [*blocks, styled.blocks[-1].to_mapping()]
        odd: list[GeneratorSpec] = [vector_spec((21, 13)), conditional_spec()]
        return [styled, *map(EncoderSpec.mirror, odd), EncoderSpec.from_mapping(strided)]

    def places(self) -> Iterator[tuple[EncoderBlock, Tensor, Tensor | None, str]]:
        """Each place: the block there, features (2, C, H, W), a condition (2, embedding) or None, and its name."""
        for spec in self.specs:
            for index, block in enumerate(spec.blocks):
                x = draw(2, block.in_channels, *block.size, seed=index)
                condition = draw(2, spec.embedding, seed=5) if spec.norm == "conditional-batch" else None
                size = f"{block.size[0]}x{block.size[1]}"
                yield self.block(spec, index), x, condition, f"Block {index}, of {size} and norm {spec.norm!r},"

    def encoder(self, generator: ExampleGenerator) -> Encoder:
        """The generator's encoder, made of these blocks."""
        with seeded():
            encoder = build_encoder(generator)
            count = len(encoder.spec.blocks)
            encoder.blocks = nn.ModuleList(self.built(encoder.spec, index) for index in range(count))
        return encoder


def builds_in_every_place(case: BlockCase) -> None:
    """A block builds for every place of an encoder, for styles, odd sizes and classes, with its default options."""
    for _ in case.places():
        pass


def features_keep_to_the_spec(case: BlockCase) -> None:
    """Features come out with the channels and the size that the spec has for the next block."""
    for block, x, condition, where in case.places():
        features, _ = _run(block, x, condition)
        wanted = (2, block.spec.out_channels, *block.spec.out_size)
        expect(
            tuple(features.shape) == wanted,
            f"{where} gives features {shape_text(features.shape)}, but its spec says {shape_text(wanted)}; keep to"
            " self.spec.out_channels and self.spec.out_size.",
        )
        expect(features.isfinite().all(), f"{where} gives NaN or infinity; add a little to what it divides by.")


def styles_have_the_widths_of_the_spec(case: BlockCase) -> None:
    """The two style heads give as many values as self.spec.style_widths says, and None for a width of 0."""
    for block, x, condition, where in case.places():
        _, styles = _run(block, x, condition)
        found = [None if one is None else tuple(one.shape) for one in styles]
        wanted = [(2, width) if width else None for width in block.spec.style_widths]
        expect(
            found == wanted,
            f"{where} gives styles {found}, but self.spec.style_widths asks for {wanted}; build its heads so.",
        )


def same_features_twice(case: BlockCase) -> None:
    """In eval mode the same features come out twice, and a call changes neither the block nor its input."""
    for block, x, condition, where in case.places():
        before, kept = state_of(block), x.clone()
        with torch.no_grad():
            one, other = (_run(block, x, condition)[0] for _ in range(2))
        expect(torch.equal(x, kept), f"{where} changes its input in place; work on a copy, as others use it too.")
        expect_unchanged(block, before, where)
        expect_close(other, one, f"{where} gives features that differ by {{by}} the second time; draw nothing")


def samples_do_not_mix(case: BlockCase) -> None:
    """In eval mode a sample alone gives what it gives in a batch."""
    for block, x, condition, where in case.places():
        for index, what in enumerate(("features", "first style", "second style")):
            with torch.no_grad():
                if _flat(_run(block, x, condition))[index] is not None:
                    run = _picked(block, x, condition, index)
                    expect_batch_is_apart(run, torch.arange(2), f"{where} {what}")


def gradients_reach_input_and_weights(case: BlockCase) -> None:
    """Features and styles are differentiable with respect to what comes in and to every weight."""
    for block, x, condition, where in case.places():
        x = x.clone().requires_grad_()
        outputs = [one for one in _flat(_run(block, x, condition)) if one is not None]
        if not any(one.requires_grad for one in outputs):
            fail(f"{where} gives no gradient at all; run it without no_grad and detach.")
        weights = {name: weight for name, weight in block.named_parameters() if weight.requires_grad}
        total = torch.stack([(one * draw(*one.shape, seed=9)).sum() for one in outputs]).sum()
        gradients = torch.autograd.grad(total, [x, *weights.values()], allow_unused=True)
        expect_gradient(gradients[0], f"the input of {where[:-1].lower()}", "run every step differentiably")
        for name, gradient in zip(weights, gradients[1:]):
            expect(gradient is not None, f"{where} has a weight {name!r} that nothing depends on; leave it out.")


def conditions_matter(case: BlockCase) -> None:
    """Where the norm is conditional, another condition gives other features."""
    for block, x, condition, where in case.places():
        if condition is not None:
            with torch.no_grad():
                one, other = (_run(block, x, given)[0] for given in (condition, -condition))
            expect(not torch.equal(one, other), f"{where} gives the same for any condition; let its norm depend on it.")


def weights_come_back(case: BlockCase) -> None:
    """Another block with the same state gives the same features."""
    for block, x, condition, where in case.places():
        with seeded(99):
            other = case.subject.resolve()(block.options, block.context).eval()
        other.load_state_dict(block.state_dict())
        with torch.no_grad():
            one, again = (_run(made, x, condition)[0] for made in (block, other))
        mend = "keep all that it depends on in parameters and buffers, or draw it with self.spec.noise_seed"
        expect_close(again, one, f"{where} gives features that differ by {{by}} once its state is loaded; {mend}")


def precision_and_device_follow_the_weights(case: BlockCase) -> None:
    """In double precision or on another device it works there."""
    for block, x, condition, where in case.places():
        wide = None if condition is None else condition.double()
        features, _ = _run(copy.deepcopy(block).double(), x.double(), wide)
        expect(features.dtype == torch.float64, f"{where} in double precision gives {features.dtype}; cast nothing.")

        def run(moved: Any, device: torch.device, x: Tensor = x, condition: Tensor | None = condition) -> Any:
            return _flat(_run(moved, x.to(device), None if condition is None else condition.to(device)))

        expect_runs_elsewhere(block, run, where)


def encoder_of_it_learns(case: BlockCase) -> None:
    """An encoder made of it alone learns in a few steps, with styles, with a vector, and with classes."""
    for spec in (styled_spec(), vector_spec(), conditional_spec()):
        generator = ExampleGenerator(spec).freeze()
        labels = torch.arange(2) if spec.classes else None
        expect_learning(generator, case.encoder(generator), labels, f"An encoder of {case.subject.name}")


def _run(block: EncoderBlock, x: Tensor, condition: Tensor | None) -> tuple[Tensor, BlockStyles]:
    made: Any = block(x, condition)
    sound = isinstance(made, tuple) and len(made) == 2 and isinstance(made[1], tuple) and len(made[1]) == 2
    expect(
        sound, f"forward gives {type(made).__name__}, where (features, (style, style)) is expected; None for no head."
    )
    features, styles = made
    return features, styles


def _flat(outputs: tuple[Tensor, BlockStyles]) -> tuple[Tensor | None, ...]:
    return outputs[0], *outputs[1]


def _picked(block: EncoderBlock, x: Tensor, condition: Tensor | None, index: int) -> Any:
    def run(picked: Tensor) -> Tensor | None:
        return _flat(_run(block, x[picked], None if condition is None else condition[picked]))[index]

    return run


CHECKS = (
    *declare("block", builds_in_every_place, gate=True),
    *declare(
        "block",
        features_keep_to_the_spec,
        styles_have_the_widths_of_the_spec,
        same_features_twice,
        samples_do_not_mix,
        gradients_reach_input_and_weights,
        conditions_matter,
        weights_come_back,
        precision_and_device_follow_the_weights,
        encoder_of_it_learns,
    ),
)
