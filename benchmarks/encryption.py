"""What encrypting latents costs, and what a wrong password shows: the recipe ``riddle`` on hands that it never saw.

An encryptor of what the zoo's encoder of stylegan2-hands64 finds is trained on the images that the generator makes. The
photos kept out are encoded in one pass, encrypted, and decrypted with the right password and with others. Each image is
compared with the photo, and so are random samples of the generator's. It is no cryptography: what is measured is what
people see.
"""

from __future__ import annotations

import time
from pathlib import Path

import ganenc
import torch
from _common import RESULTS, parser, publish, set_threads, table
from ganenc import images
from ganenc.measures import build_metrics, psnr
from ganenc.objectives import context_for
from ganenc.training import pretrain
from ganenc_plugin_hands.figures import kept_out
from ganenc_plugin_methods.riddle import Encryptor
from ganenc_registry.specs import RunSpec

MODEL = "stylegan2-hands64"
RUN = {
    "task": "pretrain",
    "model": MODEL,
    "encoder": {"weights": MODEL},
    "recipe": "riddle",
    "objective": {"losses": {"mse": 5.0, "lpips": 2.0}, "attention": "none", "backbone": "hands"},
    "optimiser": {"rate": 0.001, "betas": (0.9, 0.99), "schedule": "cosine", "warmup": 20, "average": 0.98},
    "saving": {"checkpoint_every": 50, "log_every": 10, "grid_every": 1000, "trackers": ()},
}
RIGHT, WRONG = "the right password", [f"wrong password {number}" for number in range(16)]
PICTURE = RESULTS / "encryption.png"
ONE_PASS = "one pass"


def main() -> None:
    """Train, or go on; encrypt and decrypt; measure; publish."""
    options = parser("encryption", __doc__ or "")
    options.add_argument("--steps", type=int, default=300, help="of training")
    options.add_argument("--batch", type=int, default=4, help="images a step")
    options.add_argument("--work", type=Path, default=Path("runs/encryption"), help="where the training is kept")
    chosen = options.parse_args()
    set_threads(chosen.threads)
    model = ganenc.load(MODEL, backbone="hands")
    steps = 6 if chosen.quick else chosen.steps
    run = RunSpec.from_mapping({**RUN, "steps": steps, "data": {"batch": chosen.batch}})
    folder = chosen.work / f"{steps}-steps"
    pretrain(model.generator, run, folder, on_step=lambda step, _, terms: print(step, terms, flush=True))
    encryptor = Encryptor.load(folder, model.generator)
    photos, _ = kept_out()
    latents = model.encode(photos)
    hidden = encryptor.encrypt(latents, RIGHT)
    started = time.perf_counter()
    encryptor.decrypt(hidden, RIGHT)
    milliseconds = 1000 * (time.perf_counter() - started) / len(photos)
    found = [encryptor.decrypt(hidden, word) for word in WRONG]
    drawn = [model.generate(len(photos), seed=1000 + number).images for number in range(len(WRONG))]
    with torch.no_grad():
        shown = {
            ONE_PASS: [model.generator.synthesize(latents)],
            "encrypted": [_images(model, hidden)],
            "decrypted": [_images(model, encryptor.decrypt(hidden, RIGHT))],
            f"decrypted with a wrong password ({len(WRONG)} of them)": [_images(model, one) for one in found],
            f"random samples ({len(WRONG)} each)": drawn,
        }
    metrics = build_metrics(["lpips", "identity"], context_for(model.metric_backbone(), model.generator.spec))
    rows, means = [], {}
    for name, several in shown.items():
        pairs = [psnr(photos, one) for one in several]
        values = torch.tensor(pairs)
        means[name] = float(values.mean())
        others = [torch.tensor([metric(photos, one) for one in several]).mean() for metric in metrics.values()]
        rows.append(
            [name, f"{values.mean():.2f} dB", f"{means[name] / means[ONE_PASS]:.0%}", *(f"{one:.3f}" for one in others)]
        )
    head = ["image, compared with the photo", "PSNR", "of one pass", *metrics]
    text = (
        f"{table(head, rows)}\n\nMeans over the {len(photos)} photos kept out, after {steps} steps of {chosen.batch}"
        f" images; decrypting a photo's latents takes {milliseconds:.1f} ms. A nearer image has a higher PSNR and"
        " identity, and a lower LPIPS."
    )
    if not chosen.quick:
        sheet = torch.cat([photos, *(several[0] for several in shown.values())])
        images.write_png(PICTURE, images.grid(sheet, len(photos)), sheet=True, replace=True)
        text += f"\n\n![Rows: photos; one pass; encrypted; decrypted; wrong password; random samples]({PICTURE.name})"
    publish(
        "encryption",
        "Encrypting latents by a password",
        text,
        out=chosen.out,
        quick=chosen.quick,
        threads=chosen.threads,
    )


def _images(model: ganenc.Model, latents: ganenc.Latents) -> torch.Tensor:
    return model.generator.synthesize(model.generator.complete(latents))


if __name__ == "__main__":
    main()
