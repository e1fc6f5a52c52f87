from .app import run as run
from .doctor import findings as findings
from .program import main as main
from .table import COMMANDS as COMMANDS
from .table import Command as Command
