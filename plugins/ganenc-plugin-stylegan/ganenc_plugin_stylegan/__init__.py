"""StyleGAN for ganenc. Importing this imports no torch: what it contributes is named here and loaded on first use."""

from ganenc_registry import Contribution, hookimpl

from ganenc_plugin_stylegan.releases import RELEASES

__all__ = ["GANENC_CONTRACT", "ganenc_contributions"]

GANENC_CONTRACT = (1, 0)
"""The version of ganenc's plugin contract that this is made for."""


@hookimpl
def ganenc_contributions() -> list[Contribution]:
    """What this plugin contributes."""
    return [
        Contribution(
            kind="generator",
            name="stylegan1",
            summary="StyleGAN1 (Karras et al., 2019), of NVIDIA's, genforce's, mmgeneration's and GAN-zoo's files",
            target="ganenc_plugin_stylegan.stylegan1:StyleGAN1",
        ),
        Contribution(
            kind="generator",
            name="stylegan2",
            summary="StyleGAN2 (Karras et al., 2020), of NVIDIA's, rosinality's, genforce's and mmgeneration's files",
            target="ganenc_plugin_stylegan.stylegan2:StyleGAN2",
        ),
        Contribution(
            kind="generator",
            name="stylegan2-lucidrains",
            summary="lucidrains' StyleGAN2, a network of its own, read from stylegan2-pytorch's files",
            target="ganenc_plugin_stylegan.lucidrains:LucidrainsStyleGAN2",
        ),
        *RELEASES.contributions(),
    ]
