from .latents import FORM as FORM
from .latents import SPACES as SPACES
from .latents import Latents as Latents
from .latents import as_draws as as_draws
from .latents import layout_json as layout_json
from .latents import main_part as main_part
from .latents import read_layout as read_layout
