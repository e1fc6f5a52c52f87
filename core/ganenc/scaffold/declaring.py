"""What scripts and plugins declare things with: names of the registry that `ganenc` has as its own, and its version."""

from ganenc_registry import GanencError as GanencError
from ganenc_registry import register as register
from ganenc_registry import registry as registry
from ganenc_registry.specs import EncoderSpec as EncoderSpec
from ganenc_registry.specs import GeneratorSpec as GeneratorSpec
from ganenc_registry.specs import InvertSpec as InvertSpec
from ganenc_registry.specs import ObjectiveSpec as ObjectiveSpec
from ganenc_registry.specs import RunSpec as RunSpec
from ganenc_registry.specs import preset as preset

__version__ = "0.1.0"
