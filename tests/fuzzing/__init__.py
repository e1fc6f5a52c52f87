"""Damages files at random, for the tests that watch what reading them does.

Everything follows from a number, so that what one example did can be done again: ``mutate(random.Random(n), ...)``.
"""

from fuzzing.containers import changed, mutate
from fuzzing.raw import NUMBERS, Payloads

__all__ = ["NUMBERS", "Payloads", "changed", "mutate"]
