"""Discovery: plugins load one by one, lazily, and what fails is told with its reason."""

from __future__ import annotations

import functools
import importlib.metadata
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import distributions
import pytest
from ganenc_registry import Contribution, Registry, loading
from ganenc_registry.errors import GanencError, NameTakenError, PluginError, UnknownNameError

Install = Callable[..., Path]

GOOD = """
    from ganenc_registry import Contribution, hookimpl

    @hookimpl
    def ganenc_contributions():
        yield Contribution(kind="loss", name="{name}-loss", summary="A loss", target="{name}.losses:Loss")
        yield Contribution(kind="block", name="{name}-block", summary="A block", target="{name}.blocks:Block")
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for distributions, on ``sys.path``; what is imported from it is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def install(place: Path) -> Install:
    """Install a distribution: a package with an ``__init__`` and other modules, and its entry point."""

    return functools.partial(distributions.install, place)


def discover(place: Path) -> Registry:
    """A registry of what is installed in ``place``, by the metadata that an installer writes."""
    found = Registry()
    distributions = importlib.metadata.distributions(path=[str(place)])
    found.discover(point for dist in distributions for point in dist.entry_points)
    return found


def good(name: str) -> str:
    return GOOD.format(name=name)


def test_plugins_are_found_with_their_distribution_and_contributions(place: Path, install: Install) -> None:
    install("late", good("late"))
    install("early", good("early"), version="2.1")
    found = discover(place)
    assert [(one.name, one.distribution, one.error) for one in found.plugins] == [
        ("early", "dist-early 2.1", ""),
        ("late", "dist-late 1.0", ""),
    ]
    assert [one.name for one in found.plugins[0].contributions] == ["early-loss", "early-block"]
    assert [(one.kind, one.name) for one in found.list()] == [
        ("block", "early-block"),
        ("block", "late-block"),
        ("loss", "early-loss"),
        ("loss", "late-loss"),
    ]
    assert found.names("loss") == ["early-loss", "late-loss"]
    assert found.owner("loss", "late-loss") == "dist-late 1.0"
    assert found.get("loss", "late-loss").summary == "A loss"


def test_listing_imports_none_of_the_targets(place: Path, install: Install) -> None:
    install("lazy", good("lazy"), losses="class Loss: pass", blocks="raise RuntimeError('imported')")
    found = discover(place)
    assert len(found.list()) == 2
    assert "lazy" in sys.modules
    assert not {"lazy.losses", "lazy.blocks"} & set(sys.modules)
    loss = found.resolve("loss", "lazy-loss")
    assert loss is sys.modules["lazy.losses"].Loss
    assert found.resolve("loss", "lazy-loss") is loss
    assert "lazy.blocks" not in sys.modules


HOOK = "from ganenc_registry import Contribution, hookimpl\n@hookimpl\ndef ganenc_contributions():\n    "
BROKEN = {
    "raises": ("x = 1\nraise RuntimeError('no luck here')", "RuntimeError: no luck here (raises/__init__.py, line 2)"),
    "exits": ("import sys\nsys.exit('gone')", "SystemExit: gone"),
    "interrupts": ("raise KeyboardInterrupt", "KeyboardInterrupt (interrupts/__init__.py, line 1)"),
    "base": ("\nraise BaseException('odd')", "BaseException: odd (base/__init__.py, line 2)"),
    "imports": ("import a_module_nobody_has", "No module named 'a_module_nobody_has'"),
    "syntax": ("def (", "SyntaxError"),
    "no_hook": ("x = 1", "no_hook implements no hook; give it a `@hookimpl def ganenc_contributions()`"),
    "other_hook": (HOOK.replace("ganenc_contributions", "ganenc_contribution") + "return []", "ganenc_contribution"),
    "argument": (HOOK.replace("()", "(extra)") + "return []", "extra"),
    "hook_raises": (
        HOOK + "raise ValueError('inside the hook')",
        "ValueError: inside the hook (hook_raises/__init__.py, line 4)",
    ),
    "no_list": (HOOK + "return 3", "TypeError: 'int' object is not iterable"),
    "other_thing": (HOOK + "return [('loss', 'a')]", "contributes ('loss', 'a'), which is no Contribution"),
    "kind": (
        HOOK + "return [Contribution('los', 'a', 'A', 'm:a')]",
        "there is no kind 'los' (did you mean 'loss'?); kinds are generator, block",
    ),
    "capital": (HOOK + "return [Contribution('loss', 'My Loss', 'A', 'm:a')]", "a name is lower-case letters"),
    "summary": (HOOK + "return [Contribution('loss', 'a', 'A\\nB', 'm:a')]", "the summary is one line"),
    "no_attribute": (HOOK + "return [Contribution('loss', 'a', 'A', 'module')]", "'package.module:attribute'"),
    "no_text": (HOOK + "return [Contribution('loss', 'a', 'A', 3)]", "target takes text, not 3"),
    "taken": (HOOK + "return [Contribution('loss', 'good-loss', 'A', 'taken:a')]", "contributed twice"),
    "twice": (HOOK + "return 2 * [Contribution('loss', 'b', 'A', 'twice:a')]", "contributed twice"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_plugin_that_fails_is_told_and_harms_no_other(place: Path, install: Install, name: str) -> None:
    init, reason = BROKEN[name]
    install("good", good("good"), losses="class Loss: pass")
    install(name, init)
    install("zzz", good("zzz"))
    found = discover(place)
    told = {one.name: one for one in found.plugins}
    assert set(told) == {"good", name, "zzz"}
    failed = told[name]
    assert reason in failed.error
    assert "\n" not in failed.error
    assert failed.contributions == ()
    assert failed.distribution == f"dist-{name} 1.0"
    assert [told["good"].error, told["zzz"].error] == ["", ""]
    assert {one.name for one in found.list()} == {"good-loss", "good-block", "zzz-loss", "zzz-block"}
    assert found.resolve("loss", "good-loss").__name__ == "Loss"


def test_what_a_plugin_prints_is_told_and_breaks_no_result(
    place: Path, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("loud", "import sys\nprint('hello,')\nsys.stdout.buffer.write(b'world')\n" + textwrap.dedent(good("loud")),
            losses="print('lazily')\nclass Loss: pass")  # fmt: skip
    found = discover(place)
    (status,) = found.plugins
    assert (status.error, status.printed) == ("", "hello, world")
    assert found.resolve("loss", "loud-loss").__name__ == "Loss"
    assert capsys.readouterr() == ("", "hello,\nworldlazily\n")


@pytest.mark.parametrize("then", ["pass", "raise ImportError", "raise"])
def test_the_users_own_interrupt_passes_whatever_a_plugin_does_with_it(
    place: Path, install: Install, then: str
) -> None:
    ask = "os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(9)"
    install("slow", f"import os, signal, time\ntry:\n    {ask}\nexcept BaseException:\n    {then}\n")
    with pytest.raises(KeyboardInterrupt):
        discover(place)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("raised", ["KeyboardInterrupt", "BaseException('odd')", "SystemExit(0)"])
def test_whatever_importing_a_target_raises_is_told(place: Path, install: Install, raised: str) -> None:
    install("odd", good("odd"), losses=f"raise {raised}")
    with pytest.raises(PluginError, match=r"The loss 'odd-loss' cannot be imported from .*odd/losses\.py, line 1"):
        discover(place).resolve("loss", "odd-loss")


def test_a_missing_package_and_a_missing_attribute_of_the_entry_point_are_told(place: Path, install: Install) -> None:
    install("gone", good("gone"), target="gone_elsewhere")
    install("named", good("named"), target="named:plugin")
    errors = {one.name: one.error for one in discover(place).plugins}
    assert "No module named 'gone_elsewhere'" in errors["gone"]
    assert "has no attribute 'plugin'" in errors["named"]


def test_an_entry_point_that_is_no_reference_is_told(place: Path, install: Install) -> None:
    install("odd", good("odd"), target="odd-package")
    (status,) = discover(place).plugins
    assert status.error == (
        "The entry point 'odd' reads 'odd-package'; it takes 'package.module' or 'package.module:name'."
    )


CONTRACTS = {
    "newer": ("(2, 0)", "It was made for plugin contract 2.0, and this ganenc has 1.0: upgrade ganenc."),
    "newer_minor": ("(1, 1)", "It was made for plugin contract 1.1, and this ganenc has 1.0: upgrade ganenc."),
    "older": ("(0, 9)", "contract 0.9, and this ganenc has 1.0, which works with 1.0 and newer: upgrade the plugin."),
    "text": ("'1.0'", "GANENC_CONTRACT is two whole numbers, such as (1, 0), not '1.0'."),
    "one": ("1", "GANENC_CONTRACT is two whole numbers, such as (1, 0), not 1."),
    "three": ("(1, 0, 0)", "GANENC_CONTRACT is two whole numbers, such as (1, 0), not (1, 0, 0)."),
}


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_plugin_made_for_another_contract_is_told_before_any_of_it_runs(
    place: Path, install: Install, name: str
) -> None:
    contract, reason = CONTRACTS[name]
    install(name, f"GANENC_CONTRACT = {contract}\nfrom ganenc_registry import something_of_the_future\n")
    install("now", f"GANENC_CONTRACT = (1, 0)\n{textwrap.dedent(good('now'))}")
    install("silent", good("silent"))
    found = discover(place)
    told = {one.name: one for one in found.plugins}
    assert reason in told[name].error
    assert told[name].contract is None
    assert [told[one].contract for one in ("now", "silent")] == [(1, 0), (1, 0)]
    assert name not in sys.modules


def test_a_contract_that_is_computed_counts_too(place: Path, install: Install) -> None:
    install("computed", f"GANENC_CONTRACT = tuple(range(1, 3))\n{textwrap.dedent(good('computed'))}")
    (status,) = discover(place).plugins
    assert "made for plugin contract 1.2, and this ganenc has 1.0: upgrade ganenc" in status.error


def test_plugins_made_for_a_contract_that_still_holds_are_taken(
    place: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "CONTRACT", (3, 1))
    monkeypatch.setattr(loading, "OLDEST", (2, 4))
    for name, contract in {"a": "(3, 1)", "b": "(2, 4)", "c": "(2, 9)", "d": "(2, 3)", "e": "(3, 2)"}.items():
        install(name, f"GANENC_CONTRACT = {contract}\n{textwrap.dedent(good(name))}")
    install("silent", good("silent"))
    told = {one.name: one.error.partition(": ")[2] for one in discover(place).plugins}
    assert told == {
        **dict.fromkeys("abc", ""),
        "d": "upgrade the plugin.",
        "e": "upgrade ganenc.",
        "silent": "upgrade the plugin.",
    }


def test_the_names_of_the_core_come_before_those_of_a_plugin_that_calls_itself_core(
    place: Path, install: Install
) -> None:
    taken = HOOK + "return [Contribution('loss', 'mine', 'A', 'm:a')]"
    install("core", taken)
    install("zzz", taken)
    metadata = place / "zzz-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("dist-zzz", "ganenc"))
    found = discover(place)
    assert found.owner("loss", "mine") == "ganenc 1.0"
    assert "contributed twice" in {one.distribution: one.error for one in found.plugins}["dist-core 1.0"]


def test_a_name_taken_twice_names_both_owners(place: Path, install: Install) -> None:
    hook = HOOK + "return [Contribution('loss', 'mine', 'A', '{0}.m:A'), Contribution('loss', '{0}-x', 'A', 'x:A')]"
    install("first", hook.format("first"))
    install("second", hook.format("second"), version="3.0")
    found = discover(place)
    error = found.plugins[1].error
    for part in ("loss 'mine'", "dist-first 1.0 (first.m:A)", "dist-second 3.0 (second.m:A)", "uninstall"):
        assert part in error
    assert found.names("loss") == ["first-x", "mine"], "of a plugin that fails nothing stays"
    assert found.owner("loss", "mine") == "dist-first 1.0"


def test_the_same_name_may_stand_for_things_of_two_kinds() -> None:
    found = Registry()
    found.add_all([Contribution("loss", "ssim", "A", "m:a"), Contribution("metric", "ssim", "A", "m:b")], owner="me")
    assert found.get("loss", "ssim").target == "m:a"
    assert found.get("metric", "ssim").target == "m:b"


def test_a_target_that_cannot_be_imported_is_told_when_it_is_asked_for(place: Path, install: Install) -> None:
    install("bad", good("bad"), losses="raise OSError('libfoo is missing')", blocks="x = 1")
    install("ends", good("ends"), losses="import sys\nsys.exit(3)")
    found = discover(place)
    assert found.plugins[0].error == ""
    with pytest.raises(PluginError, match=r"loss 'ends-loss' .* SystemExit: 3"):
        found.resolve("loss", "ends-loss")
    with pytest.raises(PluginError, match=r"loss 'bad-loss' .* bad.losses:Loss: OSError: libfoo is missing"):
        found.resolve("loss", "bad-loss")
    with pytest.raises(PluginError, match=r"block 'bad-block' .* AttributeError"):
        found.resolve("block", "bad-block")


def test_a_target_may_be_nested() -> None:
    contribution = Contribution("metric", "join", "A", "os:path.join")
    import os

    assert contribution.resolve() is os.path.join


def test_unknown_names_are_told_with_the_nearest_and_the_known(place: Path, install: Install) -> None:
    install("good", good("good"))
    found = discover(place)
    with pytest.raises(
        UnknownNameError, match=r"no loss 'god-los' \(did you mean 'good-loss'\?\); known are good-loss"
    ):
        found.resolve("loss", "god-los")
    with pytest.raises(UnknownNameError, match=r"no metric 'good-loss'; known are none"):
        found.get("metric", "good-loss")
    with pytest.raises(UnknownNameError, match=r"no kind 'los' \(did you mean 'loss'\?\)"):
        found.owner("los", "good-loss")  # type: ignore[arg-type]
    install("bad", "raise RuntimeError")
    with pytest.raises(UnknownNameError, match=r"1 plugin.* failed to load; see `ganenc plugins`"):
        discover(place).get("loss", "from-bad")


def test_what_is_at_hand_is_registered_with_its_docstring() -> None:
    found = Registry()

    class Mine:
        """My own loss.

        More of it.
        """

    found.add_value("loss", "mine", Mine)
    assert found.resolve("loss", "mine") is Mine
    assert found.get("loss", "mine").summary == "My own loss."
    assert found.owner("loss", "mine") == __file__
    found.add_value("loss", "short", lambda: 1, summary="Said here")
    assert found.get("loss", "short").summary == "Said here"
    found.add_value("model", "folder", Path("somewhere"))
    assert found.resolve("model", "folder") == Path("somewhere")
    type.__setattr__(Mine, "__doc__", " ")
    found.add_value("loss", "silent", Mine)
    assert found.get("loss", "silent").summary == "silent"
    with pytest.raises(PluginError, match="no kind 'los'"):
        found.add_value("los", "mine", Mine)  # type: ignore[arg-type]


def test_the_same_place_may_register_again_and_another_may_not() -> None:
    def cell() -> type:
        class Mine:
            pass

        return Mine

    class Other:
        pass

    found = Registry()
    first, second = cell(), cell()
    found.add_value("loss", "mine", first)
    found.add_value("loss", "mine", second)
    assert found.resolve("loss", "mine") is second
    with pytest.raises(NameTakenError, match=r"contributed twice: by .*Mine\) and by .*Other\)"):
        found.add_value("loss", "mine", Other)
    assert found.resolve("loss", "mine") is second


def run(code: str, *paths: Path) -> str:
    """What ``code`` prints in a fresh process that has ``paths`` on its path."""
    code = f"import sys; sys.path[:0] = {[str(path) for path in paths]}\n" + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_registry_of_the_process_discovers_once_and_takes_what_scripts_register(
    place: Path, install: Install
) -> None:
    registering = "import ganenc_registry\n@ganenc_registry.register('loss', 'while-loading')\nclass Loss: pass\n"
    install("eager", registering + textwrap.dedent(good("eager")))
    told = run(
        """
        import ganenc_registry
        @ganenc_registry.register("generator", "my-gan", summary="A GAN in a script")
        class MyGan:
            pass
        found = ganenc_registry.registry()
        print(found is ganenc_registry.registry(), found.resolve("generator", "my-gan") is MyGan)
        print(found.resolve("loss", "while-loading").__module__, found.names("block").count("eager-block"))
        print([one.error for one in found.plugins if one.name == "eager"])
        """,
        place,
    )
    assert told.splitlines() == ["True True", "eager 1", "['']"]


def test_errors_of_the_registry_are_the_users() -> None:
    assert all(issubclass(kind, GanencError) for kind in (NameTakenError, PluginError, UnknownNameError))
