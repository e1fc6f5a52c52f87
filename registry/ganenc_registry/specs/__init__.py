"""Specs: generators, encoders, releases, runs and jobs as data, in JSON and YAML."""

from ganenc_registry.specs.base import Spec, read_mapping
from ganenc_registry.specs.benchmark import BenchmarkSpec, Entrant
from ganenc_registry.specs.choice import Choice
from ganenc_registry.specs.encoder import BlockShape, BlockSpec, EncoderSpec, PooledSpec
from ganenc_registry.specs.evaluate import EvaluateSpec
from ganenc_registry.specs.generator import CONTRACT, GeneratorSpec, Prior
from ganenc_registry.specs.invert import InvertSpec, ShardSettings
from ganenc_registry.specs.layout import Condition, Layout, Map, Noise, Part, Setting, Styles, Vector, encoded
from ganenc_registry.specs.presets import PRESETS, merge, preset, preset_text
from ganenc_registry.specs.release import Release, ReleaseFile
from ganenc_registry.specs.rows import Row
from ganenc_registry.specs.run import LatentLoss, LossChoice, MemoryFormat, ObjectiveSpec, OptimiserSpec, RunSpec
from ganenc_registry.specs.sizes import MANY, MOST, Count, NonNegativeInt, PositiveInt, Seed, Width

__all__ = [
    "CONTRACT",
    "MANY",
    "MOST",
    "PRESETS",
    "BenchmarkSpec",
    "BlockShape",
    "BlockSpec",
    "Choice",
    "Condition",
    "Count",
    "EncoderSpec",
    "Entrant",
    "EvaluateSpec",
    "GeneratorSpec",
    "InvertSpec",
    "LatentLoss",
    "Layout",
    "LossChoice",
    "Map",
    "MemoryFormat",
    "Noise",
    "NonNegativeInt",
    "ObjectiveSpec",
    "OptimiserSpec",
    "Part",
    "PooledSpec",
    "PositiveInt",
    "Prior",
    "Release",
    "ReleaseFile",
    "Row",
    "RunSpec",
    "Seed",
    "Setting",
    "ShardSettings",
    "Spec",
    "Styles",
    "Vector",
    "Width",
    "encoded",
    "merge",
    "preset",
    "preset_text",
    "read_mapping",
]
