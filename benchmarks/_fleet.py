"""Workers that invert shards, as a simulation of events: machines are lost, reads are slow, shards begin anew."""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass

__all__ = ["Fleet", "Outcome", "expected", "longest", "simulate", "wasted"]


@dataclass(frozen=True)
class Fleet:
    """Workers, and what befalls them; times are seconds."""

    workers: int = 1
    together: int = 1
    """Workers of one machine, which are lost at once."""
    between: float = math.inf
    """Mean time that a machine works before it is lost; times are exponential."""
    away: float = 0.0
    """Until another machine is there."""
    start: float = 0.0
    """Until a worker has its networks loaded; at first, and after each loss."""
    shared: bool = True
    """Whether who is free takes the next shard, or each has every N-th, as under torchrun and Slurm."""
    stragglers: float = 0.0
    """The share of workers that compute `slower`,"""
    slow_reads: float = 0.0
    """and of shards that are read `slower`."""
    slower: float = 1.0
    """So many times as long."""


@dataclass
class Outcome:
    """What became of the shards; seconds, of all workers together but for the last field."""

    done: int = 0
    """Shards."""
    losses: int = 0
    """Shards that were begun and lost."""
    useful: float = 0.0
    """Spent on shards that came to their end; of these,"""
    waited: float = 0.0
    """so many on waiting for photos."""
    lost: float = 0.0
    """Spent on shards that did not."""
    starting: float = 0.0
    """Spent on beginning again after a loss."""
    ended: float = 0.0
    """When the last shard was done."""

    @property
    def wasted(self) -> float:
        """The share of the time at work that was lost, or went into beginning again."""
        again = self.lost + self.starting
        return again / (self.useful + again)


def simulate(fleet: Fleet, shards: int, computing: float, reading: float = 0.0, seed: int = 0) -> Outcome:
    """Invert shards, each of which takes so long to compute and, meanwhile, to read; one whose worker is lost begins
    anew. What a machine lives is counted from when its workers can begin."""
    chance, out = random.Random(seed), Outcome()
    rate, back = 1 / fleet.between, fleet.away + fleet.start
    machines = -(-fleet.workers // fleet.together)
    paces = [fleet.slower if chance.random() < fleet.stragglers else 1.0 for _ in range(fleet.workers)]
    reads = [fleet.slower if chance.random() < fleet.slow_reads else 1.0 for _ in range(shards)]

    def life() -> float:
        return chance.expovariate(rate) if rate else math.inf

    queue = deque(range(shards))
    todo = [queue if fleet.shared else deque(range(one, shards, fleet.workers)) for one in range(fleet.workers)]
    up, down = [fleet.start] * machines, [fleet.start + life() for _ in range(machines)]
    idle: list[int] = []
    events: list[tuple[float, int, int | None]] = [(fleet.start, worker, None) for worker in range(fleet.workers)]
    while events:
        now, worker, lost = heapq.heappop(events)
        machine = worker // fleet.together
        if lost is not None:
            todo[worker].appendleft(lost)
            out.starting += fleet.start
            heapq.heappush(events, (now + back, worker, None))
            if idle:
                heapq.heappush(events, (now, idle.pop(), None))
            continue
        while down[machine] <= now:
            up[machine] = down[machine] + back
            down[machine] = up[machine] + life()
        if not todo[worker]:
            idle.append(worker)
        elif up[machine] > now:
            heapq.heappush(events, (up[machine], worker, None))
        else:
            shard = todo[worker].popleft()
            computed = computing * paces[worker]
            waited = max(0.0, reading * reads[shard] - computed)
            end = now + computed + waited
            if end <= down[machine]:
                out.done += 1
                out.useful += end - now
                out.waited += waited
                out.ended = max(out.ended, end)
                heapq.heappush(events, (end, worker, None))
            else:
                out.losses += 1
                out.lost += down[machine] - now
                heapq.heappush(events, (down[machine], worker, shard))
    return out


def expected(length: float, between: float, start: float = 0.0) -> float:
    """The expected time of a shard that takes ``length`` and begins anew at every loss: with losses at rate r there are
    exp(r length) - 1 of them, 1 / r and one start apart."""
    return math.expm1(length / between) * (between + start)


def wasted(length: float, between: float, start: float = 0.0) -> float:
    """The share of the time of a shard that is lost, or went into starting again: near length / 2 over ``between``."""
    return 1 - length / expected(length, between, start)


def longest(share: float, between: float, start: float = 0.0) -> float:
    """How long a shard may take for no more than a share to be wasted; 0 where starting alone takes as much."""
    low, high = 0.0, between
    while high - low > 1e-6 * between:
        middle = (low + high) / 2
        low, high = (middle, high) if wasted(middle, between, start) <= share else (low, middle)
    return low
