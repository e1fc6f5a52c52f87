"""Where a benchmark computes, and in which precision: the processor, or a GPU with a clock and a memory of its own."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from _common import clock
from ganenc.generators import Generator

__all__ = ["Place", "place_options"]


def place_options(options: argparse.ArgumentParser) -> None:
    """Let a benchmark be told where to compute; :meth:`Place.chosen` reads it."""
    options.add_argument("--device", default="cpu", help="where to compute: cpu, cuda, cuda:1")
    options.add_argument("--autocast", choices=["none", "bf16"], default="none", help="precision of forward passes")
    options.add_argument("--compile", action="store_true", help="compile the generator's synthesis, as training can")


@dataclass(frozen=True)
class Place:
    """Where to compute, and how."""

    device: str = "cpu"
    autocast: str = "none"
    compiles: bool = False
    threads: int = 1

    @classmethod
    def chosen(cls, options: argparse.Namespace) -> Place:
        """What the command says.

        Raises:
            SystemExit: if there is no such device.
        """
        device = torch.device(options.device)
        if device.type == "cuda" and not torch.cuda.is_available():
            raise SystemExit("There is no GPU here; leave out --device.")
        return cls(options.device, options.autocast, options.compile, options.threads)

    @property
    def is_gpu(self) -> bool:
        """Whether that is a GPU."""
        return torch.device(self.device).type == "cuda"

    @property
    def arguments(self) -> list[str]:
        """The same choice for another process."""
        chosen = ["--device", self.device, "--autocast", self.autocast, "--threads", str(self.threads)]
        return [*chosen, *(["--compile"] if self.compiles else [])]

    @property
    def name(self) -> str | None:
        """The GPU's name; None for the processor, which results name anyway."""
        return torch.cuda.get_device_name(self.device) if self.is_gpu else None

    @property
    def suffix(self) -> str:
        """What tells a result's file from that of the processor in single precision; nothing for that."""
        words = [self.name or "", "" if self.autocast == "none" else self.autocast, "compiled" if self.compiles else ""]
        return "".join(f"-{re.sub('[^a-z0-9]+', '-', word.lower()).strip('-')}" for word in words if word)

    @property
    def description(self) -> str:
        """The GPU's name, the precision and whether code is compiled, where that is not what goes without saying."""
        precision = "" if self.autocast == "none" else f"autocast to {self.autocast}"
        return ", ".join(word for word in (self.name, precision, "compiled" if self.compiles else "") if word)

    def clock(self) -> Callable[[], float]:
        """What time is read from; on a GPU the wall's, once all that it was given is done."""
        if not self.is_gpu:
            return clock(self.threads)

        def read() -> float:
            torch.cuda.synchronize(self.device)
            return time.perf_counter()

        return read

    def computing(self) -> torch.autocast:
        """The precision of forward passes."""
        return torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.autocast == "bf16")

    def prepare(self, generator: Generator) -> None:
        """Compile a generator's synthesis if that is wanted."""
        if self.compiles:
            generator.synthesize = torch.compile(generator.synthesize)  # type: ignore[method-assign]
