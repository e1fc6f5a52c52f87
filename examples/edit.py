"""Directions found by labels and by principal components move a photo: ``python examples/edit.py [photo.jpg]``.

For each direction a strip (the photo, then the edit from weak to strong) and an animation are left.
"""

import sys

import ganenc
import torch
from ganenc import editing
from ganenc.editing import find_by_labels, find_by_pca, label_draws, margin
from ganenc_plugin_hands.models import PHOTOS

paths = [argument for argument in sys.argv[1:] if not argument.startswith("--")] or [sorted(PHOTOS.glob("3-*.jpg"))[0]]
draws, steps = (150, 5) if "--quick" in sys.argv else (2000, 100)

generator = ganenc.load_generator("stylegan2-hands64")
encoder = ganenc.load_encoder("stylegan2-hands64")
backbone = ganenc.load_backbone("hands")

# What the classifier takes for an open hand (5) in images of the generator, parted from the rest by a linear SVM. The
# latents are those that the encoder finds for these images, as those of the photo will be.
latents, logits = label_draws(generator, backbone, draws, encoder=encoder)
opened = find_by_labels(generator, latents, margin(logits, 5), name="open-hand")
print(f"{opened.name}: right for {opened.info['accuracy']:.1%} of the draws held out")
# What varies most between images of the generator.
first = find_by_pca(generator, 1, n=draws)[0]
print(f"{first.name}: {first.info['variance']:.1%} of the variance of w")

photo = ganenc.images.read(paths[0], size=generator.spec.size)[None]
options = {"method": "optimize", "steps": steps, "rate": 0.05}  # A little beyond the encoder: closer, still editable.
inversion = ganenc.invert(photo, generator, encoder, backbone="hands", **options)
strengths = torch.linspace(-3, 3, 7)
for direction in (opened, first):
    edited = direction.apply(inversion.latents.detach().expand(len(strengths)), strengths)
    made = editing.render(generator, edited)
    ganenc.images.write_png(f"{direction.name}.png", ganenc.images.grid(torch.cat([photo, made]), 8))
    editing.write_animation(f"{direction.name}.gif", editing.there_and_back(made))
    direction.save(f"{direction.name}.safetensors")
