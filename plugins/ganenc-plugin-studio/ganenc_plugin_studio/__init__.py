"""A page for ganenc: photos come back, and are moved with the mouse. Importing this imports no torch."""

from ganenc_registry import Contribution, hookimpl

__all__ = ["GANENC_CONTRACT", "ganenc_contributions"]

GANENC_CONTRACT = (1, 0)
"""The version of ganenc's plugin contract that this is made for."""


@hookimpl
def ganenc_contributions() -> list[Contribution]:
    """What this plugin contributes."""
    summary = "Open the page: a photo in, its reconstruction, sliders, dragging"
    return [Contribution(kind="command", name="studio", summary=summary, target="ganenc_plugin_studio.command:studio")]
