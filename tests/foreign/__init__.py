"""Files in every format that is read, small or of a real size, as the programs write them that users have them from."""

from foreign.containers import Calls, Network, dumps, module, nested, storage_bytes, tensorflow_network, torch_network
from foreign.formats import FORMATS, REAL, SMALL, Size, encoder_of_the_authors, rosinality, sources

__all__ = [
    "FORMATS",
    "REAL",
    "SMALL",
    "Calls",
    "Network",
    "Size",
    "dumps",
    "encoder_of_the_authors",
    "module",
    "nested",
    "rosinality",
    "sources",
    "storage_bytes",
    "tensorflow_network",
    "torch_network",
]
