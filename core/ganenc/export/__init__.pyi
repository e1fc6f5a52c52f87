from .exporting import check_export as check_export
from .exporting import export as export
from .exporting import graphs_of as graphs_of
from .graphs import EncoderGraph as EncoderGraph
from .graphs import GeneratorGraph as GeneratorGraph
from .graphs import Graph as Graph
from .graphs import MappingGraph as MappingGraph
from .graphs import has_mapping as has_mapping
