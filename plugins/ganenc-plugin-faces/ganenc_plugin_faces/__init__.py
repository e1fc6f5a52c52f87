"""Aligning faces for ganenc. Importing this imports no torch: what it contributes is loaded on first use."""

from ganenc_registry import Contribution, hookimpl

__all__ = ["GANENC_CONTRACT", "ganenc_contributions"]

GANENC_CONTRACT = (1, 0)
"""The version of ganenc's plugin contract that this is made for."""


@hookimpl
def ganenc_contributions() -> list[Contribution]:
    """What this plugin contributes."""
    summary = "The largest face, upright, cropped as in FFHQ and CelebA-HQ"
    target = "ganenc_plugin_faces.aligner:FaceAligner"
    return [Contribution(kind="aligner", name="face", summary=summary, target=target)]
