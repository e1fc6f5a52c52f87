"""The checks of whatever is contributed, and of a plugin as a whole. Imports no torch."""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from ganenc_registry import Contribution
from ganenc_registry.hookspecs import PROJECT
from ganenc_registry.loading import CONTRACT_NAME
from ganenc_registry.sources import UNKNOWN, constant, fault_of

from ganenc.testing.checks import Scope, declare, expect, fail, skip
from ganenc.testing.subjects import BASES, Subject

__all__ = ["CHECKS"]

LONGEST_SUMMARY = 120
_WATCH = """
import importlib.abc, importlib.metadata, json, sys, traceback
found = {}
class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "torchvision") and not found:
            frames = [one for one in traceback.extract_stack() if "importlib" not in one.filename]
            frames = [one for one in frames if one.filename != "<string>"]
            found.update(name=name, file=frames[-1].filename, line=frames[-1].lineno)
sys.meta_path.insert(0, Watch())
from ganenc_registry import Registry
Registry().discover([importlib.metadata.EntryPoint(%r, %r, "ganenc")])
sys.stderr.write("\\n" + json.dumps(found))
"""
_EFFECTS = """
import importlib, json, os, sys, warnings
import torch
def state():
    return {
        "the default dtype": str(torch.get_default_dtype()), "the grad mode": torch.is_grad_enabled(),
        "the number of threads": torch.get_num_threads(), "the working directory": os.getcwd(),
        "torch's random state": torch.get_rng_state().sum().item(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "cuDNN's benchmark": torch.backends.cudnn.benchmark, "the recursion limit": sys.getrecursionlimit(),
    }
before = state()
for target in %r:
    module, _, attribute = target.partition(":")
    try:
        value = importlib.import_module(module)
        for step in attribute.split("."):
            value = getattr(value, step)
    except BaseException:  # The check of that contribution tells.
        continue
after = state()
sys.stderr.write("\\n" + json.dumps([what for what in before if before[what] != after[what]]))
"""


def summary_says_what_it_is(subject: Subject) -> None:
    """Its summary is one line of text that says more than its name."""
    item = _contribution(subject)
    line = item.summary.strip()
    expect(line and "\n" not in item.summary, f"The summary of {subject.name} is {item.summary!r}; write one line.")
    expect(
        line.lower() != item.name.lower(),
        f"The summary of {subject.name} is its name, so lists say nothing of it; give a docstring or `summary=`.",
    )
    short = len(line) <= LONGEST_SUMMARY
    expect(short, f"The summary of {subject.name} has {len(line)} characters; lists have room for {LONGEST_SUMMARY}.")


def target_is_in_its_module(subject: Subject) -> None:
    """As far as the source tells, its target is where it says."""
    item = _contribution(subject)
    if subject.plugin is None:
        skip("a script registered it, so it is at hand")
    fault = fault_of(item.target)
    expect(not fault, f"{subject.name} is to be imported from {item.target}, but {fault}; correct the target.")


def plugin_loads(subject: Subject) -> None:
    """Its plugin loads: the entry point imports, its contract is ours, its contributions are sound and their own."""
    if subject.plugin is None:
        skip("a script registered it, not a plugin")
    expect(not subject.plugin.error, f"The plugin {subject.plugin.name!r} cannot be loaded: {subject.plugin.error}")


def plugin_declares_its_contract(subject: Subject) -> None:
    """Its source says as a literal which version of the plugin contract it was made for."""
    point = subject.entry_point
    if point is None or subject.plugin is None:
        skip("a script registered it, not a plugin")
    if point.dist is not None and point.dist.name == PROJECT:
        skip("the core is the contract")
    declared = constant(point.module, CONTRACT_NAME)
    expect(
        declared is not UNKNOWN,
        f"{point.module} declares no {CONTRACT_NAME}, so a later ganenc cannot tell what it was made for; write"
        f" {CONTRACT_NAME} = (1, 0) there.",
    )


def importing_it_leaves_torch_alone(subject: Subject) -> None:
    """Importing its plugin and listing what that contributes imports no torch."""
    point = subject.entry_point
    if point is None:
        skip("a script registered it, not a plugin")
    found = _torch_imported_by(point.name, point.value)
    if found:
        where = f"{'/'.join(Path(found['file']).parts[-2:])}, line {found['line']}"
        fail(
            f"Importing {point.module} imports {found['name']} ({where}), where listing has to stay quick; import it in"
            " the modules that targets name alone."
        )


def target_is_of_its_kind(subject: Subject) -> None:
    """Its target imports, and is what its kind asks for."""
    value = subject.resolve()
    bases = [_base(module, attribute) for kind, module, attribute in BASES if kind == subject.kind]
    if inspect.isclass(value):
        sound = any(issubclass(value, base) for base in bases) or not bases or subject.kind == "model"
    else:
        sound = any(isinstance(value, base) for base in bases) or callable(value)
    wanted = " or ".join(base.__name__ for base in bases) or "function"
    expect(sound, f"{subject.name} is {value!r}, where a {wanted} is expected, or a function that builds one.")
    open_methods = sorted(getattr(value, "__abstractmethods__", ()))
    expect(not open_methods, f"{subject.name} does not implement {', '.join(open_methods)}; write it.")


def plugin_brings_something(subject: Subject) -> None:
    """It contributes something."""
    brings = subject.plugin is not None and subject.plugin.contributions
    expect(brings, f"{subject.name} contributes nothing; return contributions from its `ganenc_contributions`.")


def distribution_requires_ganenc(subject: Subject) -> None:
    """Its distribution requires ganenc, so that installing it alone is enough."""
    point = subject.entry_point
    if point is None or point.dist is None or point.dist.name == PROJECT:
        skip("it is the core itself, or no distribution")
    names = {re.split(r"[\s;<>=!~\[(]", line.strip())[0].lower() for line in point.dist.requires or []}
    direct = any(name == PROJECT or name.startswith(f"{PROJECT}-") for name in names)
    expect(direct, f"{point.dist.name} does not require ganenc; add it to the dependencies in its pyproject.toml.")


def importing_changes_nothing(subject: Subject) -> None:
    """Importing its targets prints nothing and leaves torch's settings and randomness as they are."""
    if subject.plugin is None:
        skip("it is no plugin")
    changed = _in_a_fresh_process(_EFFECTS % [item.target for item in subject.plugin.contributions])
    expect(not changed, f"Importing {subject.name} changes {', '.join(changed)}; do that where it is used.")


@functools.cache
def _torch_imported_by(name: str, value: str) -> dict[str, Any]:
    """What of torch an entry point imports, and where; empty if nothing. One process serves all its contributions."""
    found: dict[str, Any] = _in_a_fresh_process(_WATCH % (name, value))
    return found


def _contribution(subject: Subject) -> Contribution:
    if subject.contribution is None:
        skip("it is not registered")
    return subject.contribution


def _base(module: str, attribute: str) -> type:
    base: type = getattr(importlib.import_module(module), attribute)
    return base


def _in_a_fresh_process(code: str) -> Any:
    """What some code writes as JSON in the last line of stderr; what it prints fails the check."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    last = (done.stderr.strip().splitlines() or [""])[-1]
    if done.returncode:
        fail(f"A fresh process that imports it ends with {last!r}; see that it can be imported.")
    if done.stdout.strip():
        fail(f"Importing it prints {done.stdout.strip().splitlines()[0]!r}; print nothing on import.")
    return json.loads(last)


_PLUGIN: Scope = "plugin"

CHECKS = (
    *declare(_PLUGIN, plugin_loads, stage="static", gate=True),
    *declare(
        _PLUGIN, plugin_brings_something, plugin_declares_its_contract, distribution_requires_ganenc, stage="static"
    ),
    *declare(_PLUGIN, importing_it_leaves_torch_alone, importing_changes_nothing, stage="import"),
    *declare("contribution", summary_says_what_it_is, target_is_in_its_module, stage="static"),
    *declare("contribution", importing_it_leaves_torch_alone, stage="import"),
    *declare("contribution", target_is_of_its_kind, stage="import", gate=True),
)
