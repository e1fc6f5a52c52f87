"""MobileStyleGAN for ganenc. Importing this imports no torch: what it contributes is named here, loaded when used."""

from ganenc_registry import Contribution, hookimpl

from ganenc_plugin_mobilestylegan.releases import RELEASES

__all__ = ["GANENC_CONTRACT", "ganenc_contributions"]

GANENC_CONTRACT = (1, 0)
"""The version of ganenc's plugin contract that this is made for."""


@hookimpl
def ganenc_contributions() -> list[Contribution]:
    """What this plugin contributes."""
    return [
        Contribution(
            kind="generator",
            name="mobilestylegan",
            summary="MobileStyleGAN (Belousov, 2021), read from its published OpenVINO files",
            target="ganenc_plugin_mobilestylegan.mobilestylegan:MobileStyleGAN",
        ),
        *RELEASES.contributions(),
    ]
