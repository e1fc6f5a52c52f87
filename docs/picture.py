"""Makes the picture of the README from what ``ganenc demo`` left: ``python docs/picture.py demo docs/demo.png``."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from ganenc import images
from ganenc.inversion import PhotoFolder

AMPLIFIED = 4


def picture(folder: Path) -> torch.Tensor:
    """Targets, reconstructions and their differences, amplified, one column a photo: (3, H, W) from -1 to 1."""
    done = [PhotoFolder(path.parent) for path in sorted(folder.glob(f"*/{PhotoFolder.FACTS}"))]
    targets, again = (
        torch.stack([one.picture(name) for one in done]) for name in (PhotoFolder.TARGET, PhotoFolder.RECONSTRUCTION)
    )
    difference = ((again - targets) * AMPLIFIED / 2).clamp(-1, 1)
    rows = torch.cat([targets, again, difference])
    large = torch.nn.functional.interpolate(rows, scale_factor=2, mode="bicubic", antialias=True).clamp(-1, 1)
    return images.grid(large, len(done))


if __name__ == "__main__":
    images.write_png(sys.argv[2], picture(Path(sys.argv[1])), replace=True)
