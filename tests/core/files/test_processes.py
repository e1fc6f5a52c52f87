"""Which device each of several processes has, and how they speak: with a state of ours in accelerate's place."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ganenc.files import Processes
from ganenc_registry.errors import DeviceError


@pytest.mark.parametrize(
    ("gpus", "devices", "backend"),
    [
        (1, ["cuda:0", "cuda:0", "cuda:0"], "gloo"),
        (2, ["cuda:0", "cuda:1", "cuda:0"], "gloo"),
        (3, ["cuda:0", "cuda:1", "cuda:2"], None),
    ],
)
def test_processes_that_outnumber_gpus_share_them(
    gpus: int, devices: list[str], backend: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    for index in range(3):
        state = SimpleNamespace(process_index=index, num_processes=3, local_process_index=index)
        monkeypatch.setattr(
            "ganenc.files.processes.PartialState", lambda state=state, **given: (told.append(given), state)[1]
        )
        assert Processes("cuda").device == devices[index]
        assert Processes("cpu").device == "cpu"
    assert [one.get("backend") for one in told] == [backend, None] * 3
    with pytest.raises(DeviceError, match="3 processes work on `cpu` or `cuda`"):
        Processes("cuda:1")
