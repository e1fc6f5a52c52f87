"""Photos with a blot, told from normal ones, and where it is: ``python examples/score.py``."""

import ganenc
import torch
from ganenc_plugin_hands.models import PHOTOS

model = ganenc.load("stylegan2-hands64")
photos = [model.read(path).target for path in sorted(PHOTOS.glob("*.jpg"))]
normal, spoilt = photos[:10], [photo.clone() for photo in photos[10:]]
for photo in spoilt:
    photo[:, 18:30, 28:40] = torch.tensor([-0.8, 0.4, 0.8])[:, None, None]
masks = torch.zeros(4, 1, 64, 64, dtype=torch.bool)
masks[2:, :, 18:30, 28:40] = True

calibration = model.calibrate(normal)  # So few allow no rate below 1 in 11.
scored = model.score([*photos[10:], *spoilt], calibration, false_alarms=0.1)
for name, row in zip(("clean", "clean", "spoilt", "spoilt"), scored.rows, strict=True):
    print(f"{name}: score {row['pred_score']:.1f}, {'odd' if row['pred_label'] else 'normal'}")
print({name: round(value, 2) for name, value in scored.measure(masks=masks).items()})
scored.save("scored")
