"""Grad-CAM attention for ganenc. Importing this imports no torch: what it contributes is loaded on first use."""

from ganenc_registry import Contribution, hookimpl

__all__ = ["GANENC_CONTRACT", "ganenc_contributions"]

GANENC_CONTRACT = (1, 0)
"""The version of ganenc's plugin contract that this is made for."""

_ATTENTIONS = (
    ("gradcam", "The image, weighted by its Grad-CAM map, and masked to the map's upper half", "GradCam"),
    ("gradcam-crop", "The image, and two crops around what its Grad-CAM map marks", "GradCamCrop"),
    ("cam", "As gradcam, with the map of CAM, of a backbone that averages its last features", "ClassActivation"),
    ("gradcam++", "As gradcam, with the map of Grad-CAM++", "GradCamPlusPlus"),
    ("guided", "As gradcam, with the map of guided Grad-CAM", "GuidedGradCam"),
)


@hookimpl
def ganenc_contributions() -> list[Contribution]:
    """What this plugin contributes."""
    return [
        Contribution(
            kind="attention", name=name, summary=summary, target=f"ganenc_plugin_gradcam.attention:{attribute}"
        )
        for name, summary, attribute in _ATTENTIONS
    ]
