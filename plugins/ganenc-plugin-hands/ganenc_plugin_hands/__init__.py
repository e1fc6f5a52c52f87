"""A small zoo that needs no download: GANs of hands at 64x64, encoders, a backbone and photos. Imports no torch."""

from ganenc_registry import Contribution, hookimpl

__all__ = ["GANENC_CONTRACT", "ganenc_contributions"]

GANENC_CONTRACT = (1, 0)
"""The version of ganenc's plugin contract that this is made for."""


@hookimpl
def ganenc_contributions() -> list[Contribution]:
    """What this plugin contributes."""
    return [
        Contribution(
            kind="backbone",
            name="hands",
            summary="Classifier of the ten digits shown by hands; needs no download",
            target="ganenc_plugin_hands.classifier:HandsBackbone",
        ),
        *(
            Contribution(
                kind="model",
                name=f"{family.lower()}-hands64",
                summary=f"{family} of hands at 64x64, with its encoders",
                target=f"ganenc_plugin_hands.models:{family.upper()}_HANDS64",
            )
            for family in ("StyleGAN1", "StyleGAN2", "PGGAN", "BigGAN")
        ),
    ]
