"""What the core contributes, named here and loaded on first use. Imports no torch."""

from __future__ import annotations

from ganenc_registry import Contribution, Kind, hookimpl

from ganenc.cli import COMMANDS

BUILT_IN: dict[Kind, dict[str, tuple[str, str]]] = {
    "block": {
        "adaptive": ("The paper's block: heads, norm, convolutions, bypass (Figure 4)", "encoders.blocks:AdaptiveBlock")
    },
    "attention": {
        "none": ("The whole image alone", "objectives.attentions:NoAttention"),
        "center": (
            "The whole image and two crops around its centre (Figure 5)",
            "objectives.attentions:CenterAttention",
        ),
    },
    "loss": {
        "mse": ("Mean squared error", "objectives.losses.pixels:MSE"),
        "cos": ("1 - cosine of the flattened images", "objectives.losses.pixels:COS"),
        "ssim": ("1 - structural similarity", "objectives.losses.ssim:SSIM"),
        "lpips": ("Learned perceptual distance on the chosen backbone", "objectives.losses.lpips:LPIPS"),
    },
    "backbone": {
        "vgg16": ("VGG16 trained on ImageNet (torchvision)", "objectives.backbones.imagenet:Vgg16"),
        "alex": ("AlexNet trained on ImageNet (torchvision)", "objectives.backbones.imagenet:Alex"),
        "squeeze": ("SqueezeNet 1.1 trained on ImageNet (torchvision)", "objectives.backbones.imagenet:Squeeze"),
    },
    "aligner": {
        "center": ("The greatest centred crop of the generator's shape", "inversion.alignment:CenterAligner"),
        "attention": ("A crop around what the attention looks at", "inversion.alignment:AttentionAligner"),
        "box": ("A crop that is given", "inversion.alignment:BoxAligner"),
    },
    "inverter": {
        "encode": ("One pass of the encoder", "inversion.encode:Encode"),
        "finetune": ("The paper: fine-tune the encoder on the photo", "inversion.finetune:Finetune"),
        "finetune+refine": ("Fine-tune, then go on with the latents", "inversion.finetune:FinetuneRefine"),
        "newton": ("The encoder's latents moved by a few quasi-Newton steps on pixels", "inversion.newton:Newton"),
        "optimize": ("Latents by gradient, in z, w or w+, the constant free or not", "inversion.optimize:Optimize"),
        "tune": ("The generator's weights by gradient, around a pivot (PTI)", "inversion.tune:Tune"),
    },
    "operator": {
        "mask": ("Pixels that are not known: by a file, a colour, alpha or a box", "inversion.degrading:Mask"),
        "downscale": ("Fewer pixels, by a factor and a kernel", "inversion.degrading:Downscale"),
        "grey": ("Without colour", "inversion.degrading:Grey"),
        "blur": ("A Gaussian, its deviation known or not, or a kernel", "inversion.degrading:Blur"),
        "noise": ("Grain of a level, the same for all", "inversion.degrading:Noise"),
        "jpeg": ("What JPEG leaves at a quality, known or not", "inversion.degrading:Jpeg"),
    },
    "recipe": {
        "encoder": ("The paper's step: one Adam of the encoder alone (Equation 6)", "training.recipe:EncoderRecipe"),
    },
    "finder": {
        "pca": ("Principal components of what the prior makes (GANSpace)", "editing.directions.components:PCAFinder"),
        "classes": ("What a backbone takes for a class (InterFaceGAN)", "editing.directions.finding:ClassFinder"),
    },
    "metric": {
        "psnr": ("Peak signal-to-noise ratio of 8-bit images, in dB", "measures.pairs:PSNR"),
        "ssim": ("Structural similarity of 8-bit images (scikit-image)", "measures.pairs:SSIM"),
        "lpips": ("Learned perceptual distance, named with its backbone", "measures.pairs:LPIPS"),
        "identity": ("Cosine of two images' embeddings, named with its backbone", "measures.pairs:Identity"),
        "fid": ("Frechet distance of two sets on Inception, where its weights are on disk", "measures.frechet:FID"),
        "frechet": ("Frechet distance of two sets, named with its backbone", "measures.frechet:Frechet"),
    },
}
"""By kind and name, a line about it, and where it lies."""


@hookimpl
def ganenc_contributions() -> list[Contribution]:
    """What the core contributes."""
    parts = [
        Contribution(kind, name, summary, f"ganenc.{target}")
        for kind, rows in BUILT_IN.items()
        for name, (summary, target) in rows.items()
    ]
    return parts + [Contribution("command", one.name, one.summary, one.target) for one in COMMANDS]
