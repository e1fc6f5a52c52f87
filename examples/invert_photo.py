"""A photo, inverted with a shipped model: ``python examples/invert_photo.py [photo.jpg]``.

What comes back is written to ``inverted.png``, the latents that rebuild it to ``inverted.safetensors``.
"""

import sys

import ganenc
from ganenc_plugin_hands.models import PHOTOS

paths = [argument for argument in sys.argv[1:] if not argument.startswith("--")] or [sorted(PHOTOS.glob("*.jpg"))[0]]
steps = 10 if "--quick" in sys.argv else 100

generator = ganenc.load_generator("stylegan2-hands64")
encoder = ganenc.load_encoder("stylegan2-hands64")
photo = ganenc.images.read(paths[0], size=generator.spec.size)[None]
inversion = ganenc.invert(photo, generator, encoder, backbone="hands", steps=steps)
ganenc.images.write_png("inverted.png", inversion.reconstructions[0].clamp(-1, 1))
inversion.latents.save("inverted.safetensors", model=ganenc.model_hash(generator))
