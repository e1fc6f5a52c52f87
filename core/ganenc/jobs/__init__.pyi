from .index import Index as Index
from .prefetch import ahead as ahead
from .prefetch import batches as batches
