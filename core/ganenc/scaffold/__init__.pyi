from .kinds import SCAFFOLDS as SCAFFOLDS
from .names import Names as Names
from .writing import LICENCES as LICENCES
from .writing import write_plugin as write_plugin
