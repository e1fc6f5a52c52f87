from .latents import SPACES as SPACES
from .latents import Latents as Latents
from .latents import layout_json as layout_json
from .latents import load_tensors as load_tensors
from .latents import read_layout as read_layout
from .latents import save_tensors as save_tensors
