"""A photo, inverted with a shipped model and edited: ``python examples/invert_photo.py [photo.jpg]``.

What comes back, the latents that rebuild it, numbers and a report are written to ``inverted``, a strip to ``edited``.
"""

import sys

import ganenc
from ganenc_plugin_hands.models import PHOTOS

paths = [argument for argument in sys.argv[1:] if not argument.startswith("--")] or [sorted(PHOTOS.glob("*.jpg"))[0]]
method = {"name": "finetune+refine", "options": {"steps": 10}} if "--quick" in sys.argv else None  # None: the best.

model = ganenc.load("stylegan2-hands64")
inverted = model.invert(paths[0], method)
inverted.save("inverted")
model.edit(inverted, "class-5").save("edited")
print(inverted, inverted.metrics)
