"""The checks of an encoder's network: latents of the right shapes around the mean, gradients, and an encoder of it that
learns."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from ganenc_registry.components import component_class
from ganenc_registry.specs import Choice, EncoderSpec
from torch import Tensor

from ganenc.encoders import Encoder, EncoderNetwork, build_encoder
from ganenc.testing.checks import declare, expect
from ganenc.testing.comparing import (
    draw,
    expect_batch_is_apart,
    expect_close,
    expect_gradient,
    expect_unchanged,
    seeded,
    shape_text,
    state_of,
)
from ganenc.testing.examples import ExampleGenerator, styled_spec
from ganenc.testing.learning import expect_learning
from ganenc.testing.subjects import Subject

__all__ = ["CHECKS", "NetworkCase", "small_network"]


class NetworkCase:
    """A network to check, in the encoder of a small generator with styles.

    Args:
        subject: a contribution.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    @property
    def name(self) -> str:
        """What it is registered as."""
        return self.subject.name.partition(":")[2]

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder, in eval mode."""
        return self.built().eval()

    @cached_property
    def images(self) -> Tensor:
        """Two of them."""
        return draw(2, self.encoder.spec.channels, *self.encoder.spec.size)

    def built(self) -> Encoder:
        """The encoder, as it is built for a generator; as small as its options' ``small`` in ``json_schema_extra``."""
        with seeded():
            return build_encoder(ExampleGenerator(styled_spec()), network=small_network(self.name))


def small_network(choice: str | Mapping[str, Any]) -> Choice:
    """The choice of a network, as small as its options' ``small`` in ``json_schema_extra``; given ones stay."""
    chosen = Choice.of(choice)
    fields = component_class("encoder", chosen.name, EncoderNetwork).Options.model_fields
    extras = {name: field.json_schema_extra for name, field in fields.items()}
    small = {name: extra["small"] for name, extra in extras.items() if isinstance(extra, dict) and "small" in extra}
    return Choice(name=chosen.name, options={**small, **chosen.options})


def builds_by_its_options(case: NetworkCase) -> None:
    """It builds with its default options, and its encoder's spec comes back from JSON."""
    spec = case.encoder.spec
    expect(EncoderSpec.from_json(spec.to_json()) == spec, "The spec of its encoder comes back changed from JSON.")


def parts_have_their_shapes(case: NetworkCase) -> None:
    """It gives every part that the encoder's spec asks for, in its shape, and the same twice."""
    with torch.no_grad():
        latents, again = case.encoder(case.images), case.encoder(case.images)
    for part in case.encoder.spec.parts:
        found = shape_text(latents[part.name].shape)
        expect(found == shape_text((2, *part.shape)), f"Part {part.name!r} of two images has the shape {found}.")
        expect_close(again[part.name], latents[part.name], f"Part {part.name!r} differs by {{by}} the second time")


def samples_do_not_mix(case: NetworkCase) -> None:
    """An image's latents are the same alone and in a batch, in eval mode."""
    with torch.no_grad():
        for part in case.encoder.spec.parts:
            expect_batch_is_apart(functools.partial(_part, case.encoder, part.name), case.images, "It")


def gradients_reach_input_and_weights(case: NetworkCase) -> None:
    """A gradient reaches the images and the weights of the heads, of which there are some."""
    encoder, images = case.built().eval(), case.images.clone().requires_grad_()
    sum(tensor.square().sum() for tensor in encoder(images).tensors.values()).backward()
    expect_gradient(images.grad, "the images", "keep the graph")
    heads = list(encoder.head_parameters())
    expect(heads, "It names no weights of its heads; give them in `head_parameters`.")
    expect(any(one.grad is not None and bool(one.grad.any()) for one in heads), "No gradient reaches its heads.")


def passes_change_nothing(case: NetworkCase) -> None:
    """A pass in eval mode leaves it as it was."""
    before = state_of(case.encoder)
    with torch.no_grad():
        case.encoder(case.images)
    expect_unchanged(case.encoder, before, "A pass")


def encoder_of_it_learns(case: NetworkCase) -> None:
    """An encoder made of it learns in a few steps."""
    expect_learning(ExampleGenerator(styled_spec()).freeze(), case.built(), None, f"An encoder of {case.name}")


def _part(encoder: Encoder, name: str, images: Tensor) -> Tensor:
    part: Tensor = encoder(images)[name]
    return part


CHECKS = (
    *declare("encoder", builds_by_its_options, gate=True),
    *declare(
        "encoder",
        parts_have_their_shapes,
        samples_do_not_mix,
        gradients_reach_input_and_weights,
        passes_change_nothing,
        encoder_of_it_learns,
    ),
)
