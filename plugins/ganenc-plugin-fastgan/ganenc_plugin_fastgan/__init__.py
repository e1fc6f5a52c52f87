"""FastGAN and lightweight-gan for ganenc. Importing this imports no torch: what it contributes is named here."""

from ganenc_registry import Contribution, hookimpl

__all__ = ["GANENC_CONTRACT", "ganenc_contributions"]

GANENC_CONTRACT = (1, 0)
"""The version of ganenc's plugin contract that this is made for."""


@hookimpl
def ganenc_contributions() -> list[Contribution]:
    """What this plugin contributes."""
    return [
        Contribution(
            kind="generator",
            name="fastgan",
            summary="FastGAN (Liu et al., 2021), read from its own files and those of Projected GANs",
            target="ganenc_plugin_fastgan.fastgan:FastGAN",
        ),
        Contribution(
            kind="generator",
            name="lightweight-gan",
            summary="lightweight-gan (lucidrains, after FastGAN), read from its model_N.pt",
            target="ganenc_plugin_fastgan.lightweight:LightweightGAN",
        ),
    ]
