"""Scripts of users, imported so that what they register is known to this process. Imports no torch; not in paper."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from ganenc_registry.containing import contained, reason
from ganenc_registry.errors import GanencError, PluginError, SpecError
from ganenc_registry.opening import open_file

_IMPORTED: dict[str, None] = {}
"""What was imported so, in its order."""


def import_script(script: str) -> ModuleType:
    """Import a ``.py`` file, by path, or a module, by name, for what it registers or holds; `PluginError` if that
    fails."""
    try:
        with contained():
            if not script.endswith(".py"):
                module = importlib.import_module(script)
                _IMPORTED[script] = None
                return module
            path = Path(script).resolve()
            open_file(path).close()
            name = re.sub(r"\W|^(?=\d)", "_", path.stem)  # Of a file such as my-gan.py, too.
            found = importlib.util.spec_from_file_location(name, path)
            assert found is not None, "its suffix says that it is Python"
            assert found.loader is not None
            module = importlib.util.module_from_spec(found)
            sys.modules[name] = module
            found.loader.exec_module(module)
            _IMPORTED[str(path)] = None
            return module
    except GanencError:
        raise
    except Exception as error:
        raise PluginError(f"The script {script} cannot be imported: {reason(error)}.") from error


def imported_scripts() -> tuple[str, ...]:
    """What this process imported so, for others that are to know the same."""
    return tuple(_IMPORTED)


def import_scripts(scripts: Iterable[str]) -> None:
    """Import those that this process has not; see `import_script`."""
    for script in scripts:
        if script not in _IMPORTED:
            import_script(script)


def import_function(word: str) -> Any:
    """The function that ``SCRIPT.py:NAME`` or ``module:NAME`` names; `GanencError` if there is none."""
    script, _, name = word.rpartition(":")
    found = getattr(import_script(script), name, None)
    if not callable(found):
        raise SpecError(f"{script} has no function {name!r}.")
    return found
