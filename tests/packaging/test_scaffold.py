"""Packages to begin with: named soundly, written whole or not at all, clean as they are, and kept to the contract."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import distributions
import pytest
from ganenc.scaffold import LICENCES, SCAFFOLDS, Names, write_plugin
from ganenc_registry import CONTRACT, KINDS
from ganenc_registry.errors import NameTakenError, PluginError, SpecError, UnknownNameError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
LONG = "Z" * 39 + "1"

each = pytest.mark.parametrize("kind", SCAFFOLDS)


def project(folder: Path) -> dict:
    """The table ``project`` of a package's pyproject.toml."""
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def run(*command: str, folder: Path) -> str:
    """What a tool says in a folder; it has to pass."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_there_is_an_example_of_each_kind_that_takes_a_package() -> None:
    assert set(SCAFFOLDS) == {*KINDS} - {"model", "command", "operator", "encoder", "runner"}
    with pytest.raises(UnknownNameError, match=r"save it with `save_pretrained` into the package of its family"):
        write_plugin("my-model", "model")
    with pytest.raises(UnknownNameError, match=r"no kind 'los' \(did you mean 'loss'\?\)"):
        write_plugin("my-loss", "los")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "kind", "names"),
    [
        ("ganenc-plugin-my-gan", "generator", ("ganenc_plugin_my_gan", "my-gan", "MyGan")),
        ("ganenc_my.GAN", "generator", ("ganenc_my_gan", "my-gan", "MyGAN")),
        ("stripes", "loss", ("stripes", "stripes", "Stripes")),
        ("Many..--__words", "block", ("many_words", "many-words", "ManyWords")),
        ("ganenc-plugin-3d", "generator", ("ganenc_plugin_3d", "3d", "A3d")),
        ("ganenc-plugin-3d", "metric", ("ganenc_plugin_3d", "3d", "A3d")),
        ("ganenc-plugin-none", "loss", ("ganenc_plugin_none", "none", "NoneLoss")),
        ("ganenc-plugin-max", "metric", ("ganenc_plugin_max", "max", "Max")),
        ("ganenc-plugin-exception", "loss", ("ganenc_plugin_exception", "exception", "ExceptionLoss")),
        ("ganenc-plugin", "loss", ("ganenc_plugin", "plugin", "Plugin")),
    ],
)
def test_all_names_follow_from_that_of_the_distribution(name: str, kind: str, names: tuple[str, str, str]) -> None:
    found = Names.of(name, kind)  # type: ignore[arg-type]
    assert (found.distribution, found.package, found.called, found.attribute) == (name, *names)


@pytest.mark.parametrize("name", ["", "-a", "a-", "a b", "a/b", "../a", "ä", "a\n", "a" * 41, "ganenc-", "$a", "."])
def test_names_that_no_distribution_has_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no name for a distribution"):
        write_plugin(name, "loss", folder=tmp_path / "new")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["class", "3d", "json", "ganenc", "Ganenc.Registry", "torch", "tests", "1"])
def test_names_that_cannot_be_imported_are_refused(name: str) -> None:
    with pytest.raises(SpecError, match="take another name, such as ganenc-plugin-"):
        Names.of(name, "loss")


def test_names_that_are_taken_are_refused() -> None:
    with pytest.raises(NameTakenError, match=r"package ganenc_plugin_hands is installed already"):
        Names.of("ganenc-plugin-hands", "loss")
    with pytest.raises(NameTakenError, match=r"There is a loss 'mse' already, from ganenc 0\.1\.0"):
        Names.of("ganenc-plugin-mse", "loss")
    assert Names.of("ganenc-plugin-mse", "metric").called == "mse", "of another kind it is free"


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "folder", "link"):
        with pytest.raises(PluginError, match="is there already, and is left as it is"):
            write_plugin("new-loss", "loss", folder=tmp_path / name)
    with pytest.raises(PluginError, match="cannot be written"):
        write_plugin("new-loss", "loss", folder=tmp_path / "file" / "inner")
    assert (tmp_path / "file").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "link"]
    assert not list((tmp_path / "folder").iterdir())


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, written = Path.write_text, []

    def fail_late(path: Path, text: str, **options: str) -> int:
        written.append(path)
        if len(written) > 3:
            raise OSError(28, "No space left on device")
        return whole(path, text, **options)

    monkeypatch.setattr(Path, "write_text", fail_late)
    with pytest.raises(PluginError, match="cannot be written: No space left on device"):
        write_plugin("new-loss", "loss", folder=tmp_path / "new")
    assert len(written) == 4
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("licence", LICENCES)
def test_the_licence_and_the_author_are_in_the_package(tmp_path: Path, licence: str) -> None:
    author = 'Jöe "the" Doe <joe@doe.org>'
    folder = write_plugin("new-loss", "loss", folder=tmp_path / "new", author=author, licence=licence)
    declared, text = project(folder), (folder / "LICENSE").read_text(encoding="utf-8")
    assert declared["license"] == licence
    assert declared["authors"] == [{"name": "Jöe the Doe", "email": "joe@doe.org"}]
    if licence == "Apache-2.0":
        assert text == (ROOT / "LICENSE").read_text(encoding="utf-8")
    else:
        assert "Jöe the Doe" in text
        assert "$" not in text


def test_an_author_may_be_a_name_or_nobody_and_wrong_ones_are_refused(tmp_path: Path) -> None:
    named = write_plugin("new-loss", "loss", folder=tmp_path / "named", author='O\'Neill \\ "Sons"', licence="MIT")
    assert project(named)["authors"] == [{"name": 'O\'Neill \\ "Sons"'}]
    nobody = write_plugin("new-loss", "loss", folder=tmp_path / "nobody", licence="MIT")
    assert "authors" not in project(nobody)
    assert "the authors of new-loss" in (nobody / "LICENSE").read_text()
    for wrong in ("A\nB", "A <nowhere>", "<>"):
        with pytest.raises(SpecError, match="An author reads"):
            write_plugin("new-loss", "loss", folder=tmp_path / "wrong", author=wrong)
    with pytest.raises(SpecError, match=r"no text of the licence 'MITT' \(did you mean 'MIT'\?\)"):
        write_plugin("new-loss", "loss", folder=tmp_path / "wrong", licence="MITT")
    assert not (tmp_path / "wrong").exists()


@each
def test_a_package_is_whole(tmp_path: Path, kind: str) -> None:
    folder = write_plugin(f"ganenc-plugin-new-{kind}", kind, folder=tmp_path / "new")  # type: ignore[arg-type]
    package = f"ganenc_plugin_new_{kind}"
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert written == {
        ".github/workflows/tests.yml",
        ".gitignore",
        "LICENSE",
        "README.md",
        "pyproject.toml",
        f"{package}/__init__.py",
        f"{package}/{kind}.py",
        f"{package}/py.typed",
        f"tests/test_{kind}.py",
    }
    declared = project(folder)
    assert declared["entry-points"]["ganenc"] == {f"new-{kind}": package}
    assert "ganenc>=0.1,<0.2" in declared["dependencies"]
    for path in written - {".github/workflows/tests.yml", "LICENSE"}:
        assert "$" not in (folder / path).read_text(encoding="utf-8")
    assert "${{ matrix.python }}" in (folder / ".github/workflows/tests.yml").read_text()


@each
@pytest.mark.parametrize("name", ["a", LONG])
def test_a_package_is_clean_whatever_it_is_called(tmp_path: Path, kind: str, name: str) -> None:
    write_plugin(name, kind, folder=tmp_path / "new")  # type: ignore[arg-type]
    run("ruff", "check", "--no-cache", ".", folder=tmp_path / "new")
    run("ruff", "format", "--no-cache", "--check", ".", folder=tmp_path / "new")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of each kind, installed in the folder ``site`` as an installer would."""
    place = tmp_path_factory.mktemp("packages")
    site = place / "site"
    site.mkdir()
    for kind in SCAFFOLDS:
        folder = write_plugin(f"ganenc-plugin-new-{kind}", kind, folder=place / kind)
        distributions.install_project(site, folder)
    return place


def test_listing_a_package_tells_no_fault_and_leaves_its_code_alone(packages: Path) -> None:
    code = f"""
import sys; sys.path.insert(0, {str(packages / "site")!r})
from ganenc_registry import registry
from ganenc_registry.sources import fault_of
new = [one for one in registry().plugins if one.name.startswith("new-")]
print([(one.error, one.contract, *(fault_of(item.target) for item in one.contributions)) for one in new])
print(sorted(name for name in sys.modules if name == "torch" or name.startswith("ganenc_plugin_new") and "." in name))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [str([("", CONTRACT, "")] * len(SCAFFOLDS)), "[]"], done.stderr


@pytest.mark.slow
def test_a_package_is_typed(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rooms = (packages / "site", ROOT / "core", ROOT / "registry")
    monkeypatch.setenv("MYPYPATH", ":".join(map(str, rooms)))
    chosen = [word for kind in SCAFFOLDS for word in ("-p", f"ganenc_plugin_new_{kind}")]
    said = run("mypy", "--config-file", str(packages / "loss" / "pyproject.toml"), *chosen, folder=packages / "loss")
    assert "no issues found" in said


@pytest.mark.slow
@each
def test_the_tests_of_a_package_pass(packages: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setenv("PYTHONPATH", str(packages / "site"), prepend=os.pathsep)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    said = run("pytest", "-q", "-p", "no:cacheprovider", folder=packages / kind)
    assert int(said.rsplit(" passed")[0].split()[-1]) >= 15


def test_the_command_writes_a_package_and_says_what_is_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ganenc.cli import main

    def call(*words: str) -> int:
        with pytest.raises(SystemExit) as stop:
            main(["new-plugin", *words])
        return int(stop.value.code or 0)

    monkeypatch.chdir(tmp_path)
    assert call("ganenc-plugin-new", "--kind", "loss", "--author", "Ann", "--licence", "MIT") == 0
    said = capsys.readouterr().out
    assert "pip install -e ganenc-plugin-new" in said
    assert "ganenc_plugin_new/loss.py" in said
    assert "Ann" in (tmp_path / "ganenc-plugin-new" / "LICENSE").read_text()
    assert call("ganenc-plugin-new", "--kind", "loss") == 1
    assert "is there already" in capsys.readouterr().err
    assert call("ganenc-plugin-new", "--kind", "los") == 2
    assert call("ganenc-plugin-other", "--out", "inner/folder") == 0
    assert (tmp_path / "inner" / "folder" / "ganenc_plugin_other" / "generator.py").is_file()


@each
def test_the_command_that_a_package_is_used_by_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    from ganenc.cli import main

    monkeypatch.setenv("COLUMNS", "200")
    program, command, *words = SCAFFOLDS[kind].use.split()  # type: ignore[index]
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    said = capsys.readouterr().out
    assert (program, stop.value.code) == ("ganenc", 0)
    assert [word for word in words if word.startswith("--") and word not in said] == []
