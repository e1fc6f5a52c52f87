"""DCGAN and its relatives for ganenc. Importing this imports no torch: what it contributes is named here, loaded when
used."""

from ganenc_registry import Contribution, hookimpl

from ganenc_plugin_dcgan.releases import RELEASES

__all__ = ["GANENC_CONTRACT", "ganenc_contributions"]

GANENC_CONTRACT = (1, 0)
"""The version of ganenc's plugin contract that this is made for."""


@hookimpl
def ganenc_contributions() -> list[Contribution]:
    """What this plugin contributes."""
    return [
        Contribution(
            kind="generator",
            name="dcgan",
            summary="Rows of layers: DCGAN (Radford et al., 2016) and its relatives, read from shapes alone",
            target="ganenc_plugin_dcgan.dcgan:DCGAN",
        ),
        *RELEASES.contributions(),
    ]
