"""Training encoders: on images that the generator makes, and on photos."""

from ganenc.training.crossval import crossval
from ganenc.training.data import Mixture, Photos, Synthesized
from ganenc.training.entry import execute, finetune, pretrain
from ganenc.training.folder import RunFolder
from ganenc.training.trainer import Trainer

__all__ = ["Mixture", "Photos", "RunFolder", "Synthesized", "Trainer", "crossval", "execute", "finetune", "pretrain"]
