"""Which of two generators of the same hands made an image, or neither: ``python examples/attribute.py``."""

import ganenc
from ganenc import images
from ganenc_plugin_hands.models import PHOTOS

models = [ganenc.load(name) for name in ("pggan-hands64", "stylegan2-hands64")]
for model in models:
    for place, image in enumerate(model.generate(2, seed=8).images):
        images.write_image(f"made/{model.source}-{place}.png", image, model.generator.spec)
photos = [*images.find(["made"]), *sorted(PHOTOS.glob("*.jpg"))[:2]]

found = ganenc.attribute(photos, models, own=19, rate=0.05, steps=30)  # So few allow no lower rate.
for one in found:
    print(f"{one.photo}: {one.verdict}")
found.save("attributed")
