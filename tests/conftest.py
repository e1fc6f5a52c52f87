"""Fixtures for all tests. Nothing here imports torch before a test asks for it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # As a shell leaves it to what it starts in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Small tensors gain nothing from many threads, and tests may share the machine. Set before torch is imported.
# A worker has what the process that started it has set.
os.environ.setdefault("OMP_NUM_THREADS", str(min(4, os.cpu_count() or 1)))
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"


# No test depends on what is faster on its machine.
os.environ.setdefault("GANENC_MEMORY_FORMAT", "channels_last")
os.environ.setdefault("GANENC_MODULATION", "features")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Let a test that draws without a seed draw the same in any order, its modules' fixtures too."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder ``shared`` beside the checkout: checkpoints, photos and weights that are not in the project."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs the folder {folder.name!r} beside the checkout, with checkpoints, photos and weights")
    return folder


@pytest.fixture
def torch_home(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch's cache, pointed at the published weights in the folder ``shared``."""
    folder = shared / "weights" / "torch-home"
    monkeypatch.setenv("TORCH_HOME", str(folder))
    return folder


@pytest.fixture
def make_pipe() -> Iterator[Callable[[Path], None]]:
    """Makes a named pipe, which no one writes to; a test that waits for one is ended after some seconds."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("needs a system with named pipes")

    def end(number: int, frame: Any) -> None:
        raise TimeoutError("something waits for a pipe")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(30)
    yield os.mkfifo
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def tiny_backbone() -> Any:
    """A backbone with small random weights that counts its passes in ``passes`` and takes images of any size."""
    import torch
    from ganenc.objectives import Backbone, BackboneOutput
    from torch import nn

    class Tiny(Backbone):
        name = "tiny"
        classes = 5
        smallest = 8

        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            generator = torch.Generator().manual_seed(3)
            self.first = nn.Conv2d(3, 6, 3, stride=2, padding=1)
            self.last_convolution = nn.Conv2d(6, 9, 3, stride=2, padding=1)
            self.head = nn.Linear(9, self.classes)
            for weight in self.parameters():
                weight.data = torch.randn(weight.shape, generator=generator) * 0.4
            self.passes = 0

        def forward(self, images: torch.Tensor) -> BackboneOutput:
            self.passes += 1
            one = self.first(images).relu()
            two = self.last_convolution(one).relu()
            return BackboneOutput([one, two], self.head(two.mean((2, 3))))

    return Tiny()
