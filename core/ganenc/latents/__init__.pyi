from .latents import SPACES as SPACES
from .latents import Latents as Latents
from .latents import layout_json as layout_json
from .latents import read_layout as read_layout
