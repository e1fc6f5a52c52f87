"""GANs that others trained, from the command line: sampled, checked, an encoder trained for minutes, pictures back.

Releases come from the package index; files that lie beside the checkout are read there, with what their conventions
cannot tell settled by a YAML beside a copy. What is done is kept in a folder, and goes on there.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from _common import RESULTS, parser, publish, table
from PIL import Image

SHARED = RESULTS.parents[2] / "shared" / "gans"
RELEASES = ("dcgan-faces-64", "dcgan-celebs-64", "linear-cats-64", "dcgan-eyes-128")
FILES = ("wgangp-mnist28.pt", "dcgan-celeba32.pt", "dcgan-anime64.h5")
SHOWN = 6
"""Samples in a row of the picture."""


def ganenc(*words: object) -> Any:
    """What a command prints as JSON, or None where it prints none."""
    command = [sys.executable, "-m", "ganenc", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[2:])} failed: {done.stderr}")
    return json.loads(done.stdout) if "--json" in words else None


def tried(model: str | Path, work: Path, steps: int, count: int) -> dict[str, Any]:
    """What one GAN gives: all of it kept in a folder, and taken from there."""
    facts = work / "facts.json"
    if not facts.is_file():
        ganenc("generate", "--model", model, "--n", SHOWN, "--seed", 1, "--out", work / "made")
        checks = ganenc("check", model, "--json")
        ganenc("pretrain", "--model", model, "--out", work / "run", "--steps", steps)
        encoded = ganenc(
            "evaluate", "--model", model, "--encoder", work / "run", "--samples", count, "--metric", "psnr", "--json"
        )
        ganenc(
            "invert", *(sorted((work / "made").glob("*[0-9].png"))), "--model", model, "--encoder", work / "run",
            "--method", "encode", "--backbone", "none", "--out", work / "encoded",
        )  # fmt: skip
        ganenc(
            "invert", *(sorted((work / "made").glob("*[0-9].png"))), "--model", model, "--encoder", work / "run",
            "--steps", 150, "--backbone", "none", "--out", work / "inverted",
        )  # fmt: skip
        rows = [json.loads(line) for line in (work / "inverted" / "index.jsonl").read_text().splitlines()]
        found = {
            "passed": sum(one["result"] == "passed" for one in checks),
            "checks": len(checks),
            "one pass": encoded["metrics"]["psnr"]["mean"],
            "mean image": encoded["metrics"]["psnr"]["mean_image"],
            "inverted": float(np.mean([row["metrics"]["psnr"] for row in rows])),
        }
        facts.write_text(json.dumps(found), encoding="utf-8")
    return dict(json.loads(facts.read_text(encoding="utf-8")))


def strip(work: Path) -> np.ndarray:
    """Samples, one pass, and inverted step by step; a row for each, at 64 pixels."""
    names = [path.stem for path in sorted((work / "made").glob("*[0-9].png"))]
    rows = [[work / "made" / f"{name}.png" for name in names]]
    rows += [[work / kind / name / "reconstruction.png" for name in names] for kind in ("encoded", "inverted")]
    pictures = [[Image.open(one).convert("RGB").resize((64, 64)) for one in row] for row in rows]
    return np.concatenate([np.concatenate([*map(np.asarray, row)], 1) for row in pictures], 0)


def main() -> None:
    """Try them all, and write down what they give."""
    options = parser("others", __doc__.splitlines()[0])
    options.add_argument("--steps", type=int, default=400, help="of training, for each")
    options.add_argument(
        "--models", nargs="+", default=[*RELEASES, *FILES], help="releases, and files beside the checkout"
    )
    options.add_argument("--work", type=Path, default=Path("runs/others"), help="where results are kept as they come")
    chosen = options.parse_args()
    names, steps, count = (FILES[:1], 2, 8) if chosen.quick else (chosen.models, chosen.steps, 64)
    lines, shown = [], []
    for name in names:
        work = chosen.work / f"{name}-{steps}"
        model: str | Path = name
        if name in FILES:
            if not (SHARED / name).is_file():
                print(f"{name} is not beside the checkout; left out.")
                continue
            model = work / name
            work.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(SHARED / name, model)
        found = tried(model, work, steps, count)
        gain = found["one pass"] - found["mean image"]
        checks = f"{found['passed']} of {found['checks']}"
        numbers = [f"{found[one]:.1f}" for one in ("mean image", "one pass", "inverted")]
        lines.append([name, checks, *numbers[:2], f"{gain:+.1f}", numbers[2]])
        if name not in FILES:
            shown.append(strip(work))
    header = [
        "GAN",
        "checks passed",
        "mean image, dB",
        "one pass, dB",
        "gain",
        "finetune+refine, dB",
    ]
    body = (
        f"Encoders trained for {steps} steps each; one pass on {count} samples that they have not seen, and 150 steps"
        f" of finetune+refine on {SHOWN}.\n\n{table(header, lines)}"
    )
    publish("others", "GANs that others trained", body, out=chosen.out, quick=chosen.quick, threads=chosen.threads)
    if shown and not chosen.quick:
        Image.fromarray(np.concatenate(shown, 0)).save((chosen.out or RESULTS / "others.md").with_suffix(".webp"))


if __name__ == "__main__":
    main()
