"""Directions found by labels and by principal components move a photo: ``python examples/edit.py [photo.jpg]``.

For each direction a strip (the photo, then the edit from weak to strong) and an animation are left.
"""

import sys

import ganenc
from ganenc.editing import find_by_labels, find_by_pca, label_draws, margin
from ganenc_plugin_hands.models import PHOTOS

paths = [argument for argument in sys.argv[1:] if not argument.startswith("--")] or [sorted(PHOTOS.glob("3-*.jpg"))[0]]
draws, steps = (150, 5) if "--quick" in sys.argv else (2000, 100)

model = ganenc.load("stylegan2-hands64")
# What the classifier takes for an open hand (5) in images of the generator, parted from the rest by a linear SVM. The
# latents are those that the encoder finds for these images, as those of the photo will be.
latents, logits = label_draws(model.generator, model.metric_backbone(), draws, encoder=model.encoder)
opened = find_by_labels(model.generator, latents, margin(logits, 5), name="open-hand")
print(f"{opened.name}: right for {opened.info['accuracy']:.1%} of the draws held out")
# What varies most between images of the generator.
first = find_by_pca(model.generator, 1, n=draws)[0]
print(f"{first.name}: {first.info['variance']:.1%} of the variance of w")

# A little beyond the encoder: closer, and still editable.
inverted = model.invert(paths[0], {"name": "optimize", "options": {"steps": steps, "rate": 0.05}})
for direction in (opened, first):
    model.edit(inverted, direction).save(direction.name, animations=["gif"])
    direction.save(f"{direction.name}.safetensors")
