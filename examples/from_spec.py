"""A whole run from one file: ``python examples/from_spec.py``. Stopped and started again, it goes on where it was.

The same from the command line: ``ganenc pretrain --run examples/run.yaml --out runs/from-spec``.
"""

import sys
from pathlib import Path

import ganenc

run = ganenc.RunSpec.from_file(Path(__file__).with_name("run.yaml"))
if "--quick" in sys.argv:
    run = run.model_copy(update={"steps": 4})

folder = Path("runs") / f"from-spec-{run.steps}"
encoder = ganenc.execute(run, folder, on_step=lambda step, steps, terms: print(f"{step}/{steps}: {terms['total']:.3f}"))
parameters = sum(weights.numel() for weights in encoder.parameters())
print(f"An encoder of {parameters:,} parameters, the metrics and the sample grids are in {folder}.")
