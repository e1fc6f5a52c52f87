"""What this package brings to ganenc: the family, and one trained model of it. Imports no torch."""

from pathlib import Path

from ganenc_registry import Contribution, hookimpl

__all__ = ["GANENC_CONTRACT", "MODEL", "ganenc_contributions"]

GANENC_CONTRACT = (1, 0)
"""The version of ganenc's plugin contract that this is made for."""

MODEL = Path(__file__).parent / "model"
"""The model folder, as ``save_pretrained`` writes it."""


@hookimpl
def ganenc_contributions() -> list[Contribution]:
    """What this plugin contributes."""
    return [
        Contribution(
            kind="generator",
            name="ripples",
            summary="Ripples on water, grey, of 48x40 pixels by default",
            target="ripples_gan.generator:Ripples",
        ),
        Contribution(
            kind="model",
            name="ripples-48x40",
            summary="A small GAN of ripples, 48x40, grey; MIT",
            target="ripples_gan.plugin:MODEL",
        ),
    ]
