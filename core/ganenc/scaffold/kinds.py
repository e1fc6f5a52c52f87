"""What is written for each kind of plugin, beside what all have."""

from __future__ import annotations

from dataclasses import dataclass

from ganenc_registry import Kind

__all__ = ["SCAFFOLDS", "Scaffold"]


@dataclass(frozen=True)
class Scaffold:
    """The example that a package of one kind begins with. Its code is ``templates/<kind>.py.tmpl``."""

    summary: str
    """What the example does, in a line of lists."""
    use: str
    """A command that uses it, by its name ``$called``."""
    use_says: str
    """What the command does."""
    needs: tuple[str, ...] = ("torch>=2.2",)
    """What its code imports besides ganenc, as requirements."""


SCAFFOLDS: dict[Kind, Scaffold] = {
    "generator": Scaffold(
        "A small generator of 32x32 images",
        "ganenc spec weights.pt",
        "shows the encoder for a file with its weights",
        ("torch>=2.2", "typing-extensions>=4.8"),
    ),
    "block": Scaffold(
        "Two convolutions beside a shortcut, with group norm",
        "ganenc pretrain --model MODEL --set encoder.overrides.block=$called --out runs/$called",
        "trains an encoder that is built of it",
    ),
    "attention": Scaffold(
        "The whole image, its left half and its right half",
        "ganenc invert photo.jpg --model MODEL --set objective.attention.name=$called --out inverted",
        "inverts a photo with its views",
    ),
    "loss": Scaffold(
        "Mean absolute difference of the pixels, smooth at zero",
        "ganenc invert photo.jpg --model MODEL --set objective.losses.$called=1 --out inverted",
        "inverts a photo with it in the objective",
        ("pydantic>=2.6", "torch>=2.2"),
    ),
    "backbone": Scaffold(
        "Three convolutions with fixed random weights",
        "ganenc invert photo.jpg --model MODEL --backbone $called --out inverted",
        "inverts a photo with LPIPS taken on its features",
    ),
    "inverter": Scaffold(
        "The best of some draws of the prior",
        "ganenc invert photo.jpg --model MODEL --method $called --set method.options.draws=256 --out inverted",
        "inverts a photo with it",
        ("pydantic>=2.6", "torch>=2.2"),
    ),
    "recipe": Scaffold(
        "The paper's step, and a pull towards the generator's mean latents",
        "ganenc pretrain --model MODEL --set recipe.name=$called --set recipe.options.pull=0.1 --out runs/$called",
        "trains an encoder by it",
        ("pydantic>=2.6", "torch>=2.2"),
    ),
    "finder": Scaffold(
        "The way from the mean latents to the draw farthest from them",
        "ganenc directions --model MODEL --method $called --out found",
        "finds directions by it",
        ("pydantic>=2.6", "torch>=2.2"),
    ),
    "metric": Scaffold(
        "Mean absolute difference of 8-bit images, in levels",
        "ganenc evaluate photos --model MODEL --metric $called",
        "takes it of photos and what is rebuilt of them",
    ),
    "aligner": Scaffold(
        "The greatest crop of the generator's shape, as far up as is asked",
        "ganenc invert photo.jpg --model MODEL --align $called --set align.options.down=0.2 --out inverted",
        "inverts photos in which it says where to look",
        ("pydantic>=2.6", "torch>=2.2"),
    ),
}
"""By kind. A model needs no package of code: it is contributed beside its family, as the path of a model folder."""
