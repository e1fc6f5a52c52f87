"""Other methods of GAN inversion for ganenc. Importing this imports no torch: what it contributes is named here."""

from ganenc_registry import Contribution, Kind, hookimpl

__all__ = ["GANENC_CONTRACT", "ganenc_contributions"]

GANENC_CONTRACT = (1, 0)
"""The version of ganenc's plugin contract that this is made for."""

_OURS: dict[Kind, dict[str, tuple[str, str]]] = {
    "encoder": {
        "psp": ("pSp: a feature pyramid, and a small stack of convolutions for each style", "psp:PSP"),
        "e4e": ("e4e: as pSp, one w for all layers and an offset for each", "psp:E4E"),
        "last-layer": ("pSp's comparisons: one w, or every row, from the last features", "last_layer:LastLayer"),
        "restyle": ("ReStyle: the image beside its reconstruction, in several passes", "restyle:ReStyle"),
        "e2style": ("E2Style: three pooled heads, refined in stages", "e2style:E2Style"),
        "in-domain": ("In-domain: residual blocks with batch norm, and one linear layer", "indomain:InDomain"),
        "alae": ("ALAE: one w, summed over blocks of (mean, deviation)", "alae:ALAE"),
        "d2e": ("D2E: the discriminator of a DCGAN, its last layer giving z", "d2e:D2E"),
    },
    "recipe": {
        "e4e": ("e4e: offsets that join one by one, and a discriminator of styles", "e4e_recipe:E4ERecipe"),
        "in-domain": ("In-domain: rebuilt images against a discriminator", "indomain_recipe:InDomainRecipe"),
        "bigbigan": (
            "BigBiGAN: images with their latents against a joint discriminator",
            "bigbigan_recipe:BigBiGANRecipe",
        ),
        "alae": ("ALAE: the generator's own latents by regression", "alae_recipe:ALAERecipe"),
        "d2e": ("D2E: from a discriminator's weights, its latents spread as the generator's", "d2e_recipe:D2ERecipe"),
        "psp": ("pSp: the step of one encoder, its latents held near the mean", "recipes:PSPRecipe"),
        "restyle": ("ReStyle: several passes a step, each beside the last reconstruction", "recipes:ReStyleRecipe"),
        "e2style": ("E2Style: three stages, one after another, earlier ones frozen", "recipes:E2StyleRecipe"),
        "riddle": ("RiDDLE: latents encrypted by a password, and decrypted", "riddle_recipe:Riddle"),
    },
    "command": {
        "encrypt": ("Hide what latents or photos show, by a password", "encrypting:encrypt"),
        "decrypt": ("Find by the password what was hidden", "encrypting:decrypt"),
    },
    "inverter": {
        "restyle": ("Several passes of an encoder that sees the image beside its reconstruction", "passes:Restyle"),
        "image2stylegan": ("Image2StyleGAN: latents by gradient from their mean", "image2stylegan:Image2StyleGAN"),
        "in-domain": ("In-domain: the encoder's latents, held to its domain", "indomain_inverter:InDomainInverter"),
        "rfm": ("The paper's reference 11: fine-tune the encoder, with short latents", "rfm:RFM"),
        "pti": ("PTI as published: one w with noise, then the generator's weights", "pti:PTI"),
    },
    "loss": {
        "features": ("Mean square difference of a backbone's features, as they are", "perceptual:Features"),
        "identity": ("1 - cosine of a backbone's embeddings, as of identities of faces", "perceptual:Identity"),
    },
    "finder": {
        "sefa": ("SeFa: what changes the first layers most, in closed form", "sefa:SeFa"),
        "regression": ("Towards what a backbone takes for a class, by regression", "regression:Regression"),
        "latentclr": ("LatentCLR: what does the same to every image, by contrast", "latentclr:LatentCLR"),
        "styleclip": ("StyleCLIP: towards a text, by optimiser, mapper or channels", "styleclip:StyleCLIP"),
    },
    "backbone": {
        "open-clip": ("Images and texts in one space, by a model of open_clip from a file", "text_image:OpenCLIP"),
    },
}


@hookimpl
def ganenc_contributions() -> list[Contribution]:
    """What this plugin contributes."""
    return [
        Contribution(kind=kind, name=name, summary=summary, target=f"ganenc_plugin_methods.{target}")
        for kind, named in _OURS.items()
        for name, (summary, target) in named.items()
    ]
