"""Ways from an image to latents."""

from ganenc.inverters.base import Inversion, Inverter, OnStep
from ganenc.inverters.encode import Encode
from ganenc.inverters.entry import default_objective, invert
from ganenc.inverters.finetune import Finetune, FinetuneRefine
from ganenc.inverters.optimize import Optimize

__all__ = [
    "Encode",
    "Finetune",
    "FinetuneRefine",
    "Inversion",
    "Inverter",
    "OnStep",
    "Optimize",
    "default_objective",
    "invert",
]
