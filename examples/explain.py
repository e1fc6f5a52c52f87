"""What a classifier of hands goes by on one photo: ``python examples/explain.py``."""

import ganenc
from ganenc_plugin_hands.models import PHOTOS

model = ganenc.load("stylegan2-hands64")
start = model.encode(min(PHOTOS.glob("*.jpg")))
explained = model.explain(start, "hands", 5)
print(f"5 with p of {explained.probabilities[0, 5]:.2f} before, {explained.probabilities[-1, 5]:.2f} after")
print(f"what changed, in deviations: {explained.changes}; random changes as long: {explained.random:.0%}")
explained.save("explained", animations=["gif"])
