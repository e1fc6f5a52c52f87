from . import authors as authors
from .checkpoint import Checkpoint as Checkpoint
from .checkpoint import Container as Container
from .checkpoint import read_checkpoint as read_checkpoint
from .stored_shapes import CONV_TF as CONV_TF
from .stored_shapes import DENSE_TF as DENSE_TF
from .stored_shapes import PLAIN as PLAIN
from .stored_shapes import Form as Form
