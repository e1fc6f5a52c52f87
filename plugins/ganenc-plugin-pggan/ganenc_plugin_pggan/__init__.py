"""PGGAN for ganenc. Importing this imports no torch: what it contributes is named here and loaded on first use."""

from ganenc_registry import Contribution, hookimpl

from ganenc_plugin_pggan.releases import RELEASES

__all__ = ["GANENC_CONTRACT", "ganenc_contributions"]

GANENC_CONTRACT = (1, 0)
"""The version of ganenc's plugin contract that this is made for."""


@hookimpl
def ganenc_contributions() -> list[Contribution]:
    """What this plugin contributes."""
    return [
        Contribution(
            kind="generator",
            name="pggan",
            summary="PGGAN (Karras et al., 2018), read from NVIDIA's, genforce's, mmgeneration's and GAN-zoo's files",
            target="ganenc_plugin_pggan.pggan:PGGAN",
        ),
        *RELEASES.contributions(),
    ]
