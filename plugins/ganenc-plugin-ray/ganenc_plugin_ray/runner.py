"""Ray as a runner: Ray Data hands tasks to actors that keep the work, Ray Train calls it in processes that train."""

from __future__ import annotations

import logging
import os
import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import ray
import ray.data
from ganenc.jobs import Runner
from ganenc_registry.errors import GanencError, PluginError
from ganenc_registry.specs import Spec
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt
from ray import cloudpickle
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer

__all__ = ["RayRunner"]

T = TypeVar("T")
R = TypeVar("R")
QUIET = logging.WARNING
BLOCKS = 10_000
"""The most blocks that tasks lie in. A block is what an actor takes, and what is done anew where one is lost."""


class RayRunner(Runner):
    """Runs work by Ray: on this machine, started for it and stopped after, or on a cluster that is there. Where Ray was
    started in this process already, there."""

    class Options(Spec):
        """Where, and by how many."""

        concurrency: PositiveInt | None = Field(
            None, description="actors, or processes that train together; by default as many as there is room for"
        )
        num_gpus: NonNegativeFloat = Field(0, description="GPUs of each, or a share of one")
        num_cpus: NonNegativeFloat = Field(1, description="processors of each, as Ray counts them")
        address: str = Field(
            "local", description="of a cluster, such as auto or ray://HOST:10001; local starts Ray here"
        )
        retries: NonNegativeInt = Field(3, description="how often a training begins anew where a process is lost")
        storage: str | None = Field(
            None,
            description="a folder that all machines of a cluster see, for Ray Train's notes; by default a passing one",
        )

    def each(self, work: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """See `Runner.each`."""
        rows = [{"task": pickle.dumps(task)} for task in tasks]
        if not rows:
            return
        with self._started():
            found = ray.data.from_items(rows, override_num_blocks=min(len(rows), BLOCKS)).map(
                _Actor,
                fn_constructor_args=(cloudpickle.dumps(work), os.getcwd()),
                compute=ray.data.ActorPoolStrategy(
                    size=min(self._places(), len(rows)), max_tasks_in_flight_per_actor=2
                ),
                num_cpus=self.options.num_cpus,
                num_gpus=self.options.num_gpus,
            )
            for row in found.iter_rows():
                outcome = pickle.loads(row["found"])
                if isinstance(outcome, GanencError):
                    raise outcome
                yield outcome

    def together(self, work: Callable[[], None]) -> None:
        """See `Runner.together`."""
        chosen = self.options
        with self._started(), tempfile.TemporaryDirectory() as notes:
            resources = {"CPU": chosen.num_cpus, **({"GPU": chosen.num_gpus} if chosen.num_gpus else {})}
            trainer = TorchTrainer(
                _Process(cloudpickle.dumps(work), os.getcwd()),
                scaling_config=ScalingConfig(
                    num_workers=self._places(), use_gpu=chosen.num_gpus > 0, resources_per_worker=resources
                ),
                run_config=RunConfig(
                    storage_path=chosen.storage or notes, failure_config=FailureConfig(max_failures=chosen.retries)
                ),
            )
            trainer.fit()

    def _places(self) -> int:
        """How many work at once."""
        have, chosen = ray.cluster_resources(), self.options
        wants = {"CPU": chosen.num_cpus, "GPU": chosen.num_gpus}
        room = [int(have.get(name, 0) // wanted) for name, wanted in wants.items() if wanted]
        return chosen.concurrency or max(1, min(room, default=1))

    @contextmanager
    def _started(self) -> Iterator[None]:
        """Ray, while it lasts; a PluginError if it cannot be reached, or loses the work for good."""
        chosen, own = self.options, not ray.is_initialized()
        wanted = int((chosen.concurrency or 0) * chosen.num_cpus)
        room = {"num_cpus": max(os.cpu_count() or 1, wanted)} if chosen.address == "local" else {}
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            if own:
                ray.init(chosen.address, include_dashboard=False, log_to_driver=False, logging_level=QUIET, **room)
            logging.getLogger("ray").setLevel(QUIET)
            ray.data.DataContext.get_current().enable_progress_bars = False
            yield
        except (RayError, TrainingFailedError, ConnectionError, RuntimeError) as error:
            raise _told(error) from error
        finally:
            if own:
                ray.shutdown()


class _Actor:
    """Holds the work, and does tasks; what goes wrong by a user's fault is told as any outcome is."""

    def __init__(self, work: bytes, folder: str) -> None:
        os.chdir(folder)
        self.work = pickle.loads(work)

    def __call__(self, row: dict[str, Any]) -> dict[str, bytes]:
        try:
            found = self.work(pickle.loads(row["task"]))
        except GanencError as error:
            found = error
        return {"found": pickle.dumps(found)}


class _Process:
    """Does the work, in one of the processes that train together."""

    def __init__(self, work: bytes, folder: str) -> None:
        self.work, self.folder = work, folder

    def __call__(self) -> None:
        os.chdir(self.folder)
        pickle.loads(self.work)()


def _told(error: BaseException) -> GanencError:
    """The GanencError that Ray's error is for, else one that says what Ray says."""
    seen: list[BaseException] = [error]
    for one in seen:
        if isinstance(one, GanencError):
            return one
        inner = [one.__cause__, getattr(one, "cause", None), getattr(one, "_base_exc", None)]
        inner += [*getattr(one, "worker_failures", {}).values(), getattr(one, "controller_failure", None)]
        seen += [other for other in inner if isinstance(other, BaseException) and other not in seen]
    return PluginError(f"Ray says: {' '.join(str(error).split())[:500]}")
