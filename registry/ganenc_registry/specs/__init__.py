"""Specs: generators, encoders, releases, runs and jobs as data, in JSON and YAML."""

from ganenc_registry.specs.base import Spec, read_mapping
from ganenc_registry.specs.choice import Choice
from ganenc_registry.specs.encoder import BlockShape, BlockSpec, EncoderSpec
from ganenc_registry.specs.evaluate import EvaluateSpec
from ganenc_registry.specs.generator import CONTRACT, GeneratorSpec, Prior
from ganenc_registry.specs.invert import InvertSpec
from ganenc_registry.specs.layout import Condition, Layout, Map, Noise, Part, Setting, Styles, Vector, encoded
from ganenc_registry.specs.presets import PRESETS, merge, preset, preset_text
from ganenc_registry.specs.release import Release, ReleaseFile
from ganenc_registry.specs.run import LatentLoss, LossChoice, ObjectiveSpec, OptimiserSpec, RunSpec

__all__ = [
    "CONTRACT",
    "PRESETS",
    "BlockShape",
    "BlockSpec",
    "Choice",
    "Condition",
    "EncoderSpec",
    "EvaluateSpec",
    "GeneratorSpec",
    "InvertSpec",
    "LatentLoss",
    "Layout",
    "LossChoice",
    "Map",
    "Noise",
    "ObjectiveSpec",
    "OptimiserSpec",
    "Part",
    "Prior",
    "Release",
    "ReleaseFile",
    "RunSpec",
    "Setting",
    "Spec",
    "Styles",
    "Vector",
    "encoded",
    "merge",
    "preset",
    "preset_text",
    "read_mapping",
]
