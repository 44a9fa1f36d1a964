"""``rayjobs new-plugin``: what it writes installs, passes its own tests, and works once it is allowed."""

from __future__ import annotations

import json
import site
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipelines.extensions.extension_adapters import NAME
from rayjobs.command_line.cli import main
from rayjobs.command_line.new_plugin import plugin_files
from rayjobs.job.yaml_data import _WORDS, is_text
from tests.example_plugin import EXAMPLES, pip_install
from tests.runs import ROOT, write_job, write_photographs

Output = pytest.CaptureFixture[str]


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A Python of its own that has what this one has, so that a package can be installed editable."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (own,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    (own / "ours.pth").write_text(
        "".join(f"import site; site.addsitedir({path!r})\n" for path in site.getsitepackages())
    )
    return tmp_path / "venv/bin/python"


def test_a_new_plug_in_passes_its_tests_and_works_when_allowed(
    tmp_path: Path, python: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAYJOBS_HOME", str(tmp_path / "home"))
    assert main(["new-plugin", "sepia_tone"]) == 0
    assert "rayjobs run job.yaml --allow-plugin sepia_tone" in capsys.readouterr().out
    assert "vignette" not in "".join(path.read_text() for path in (tmp_path / "sepia_tone").rglob("*.*"))
    pip_install("--editable", "sepia_tone", python=python)

    def ran(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([python, "-m", *words], capture_output=True, text=True, check=False)

    tests = ran("pytest", "-q", "-p", "no:cacheprovider", "sepia_tone")
    assert tests.returncode == 0, tests.stdout + tests.stderr

    write_photographs(tmp_path / "photos", 1)
    job = write_job(tmp_path, plugins=["sepia_tone"], operations=[{"sepia_tone": {"strength": 0.3}}])
    refused = ran("rayjobs", "plan", job)
    assert refused.returncode == 1
    assert "add `--allow-plugin sepia_tone` to the command" in refused.stderr
    done = ran("rayjobs", "plan", job, "--allow-plugin", "sepia_tone", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["to_do"] == 1
    unknown = ran("rayjobs", "operations", "sepia_tone")
    assert unknown.stderr.endswith("the plug-in of that name (rayjobs-sepia_tone) needs `--allow-plugin sepia_tone`\n")
    explained = ran("rayjobs", "operations", "sepia_tone", "--allow-plugin", "sepia_tone")
    assert "strength           number, 0 to 1; 0.5 unless given" in explained.stdout


def test_the_example_is_what_it_writes() -> None:
    written = plugin_files("vignette")
    assert {name: (EXAMPLES / "plugin" / name).read_text() for name in written} == written
    assert len(written) == 6


def test_what_it_writes_is_part_of_the_installed_program() -> None:
    """An editable installation has all files; a wheel those that are named."""
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["rayjobs"]
    packed = {path for pattern in named for path in (ROOT / "rayjobs").glob(pattern)}
    template = ROOT / "rayjobs/templates/plugin"
    assert {template / name for name in plugin_files("vignette")} <= packed


ODD = ("on", "off", "yes", "no", "y", "n", "true", "false", "null")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("My-Plugin", "'My-Plugin' can't be the name of a plug-in: small letters, digits and _, a letter first, and no "
         "word that YAML takes for another, such as on or null; did you mean 'my_plugin'?\n"),
        ("2fast", "did you mean 'fast'?"),
        ("../there", "did you mean 'there'?"),
        ("---", "a letter first"),
        ("class", "can't be the name"),
        *((word, f"as on or null; did you mean 'my_{word}'?\n") for word in ODD),
        ("No", "did you mean 'my_no'?"),
        ("~", "can't be the name"),
        ("1e3", "did you mean 'e'?"),
        (".inf", "did you mean 'inf'?"),
        ("gaussian", "there is an operation 'gaussian' already; give the plug-in another name, such as 'my_gaussian'"),
        ("statistics", "there is an analysis 'statistics' already"),
    ],
)  # fmt: skip
def test_a_name_that_will_not_do_is_refused(
    name: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new-plugin", "--", name]) == 1
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@given(st.sampled_from([word for word in _WORDS if word]) | st.from_regex(NAME, fullmatch=True))
def test_a_name_that_will_do_is_itself_in_a_job_file(word: str) -> None:
    if NAME.fullmatch(word):
        assert is_text(word)
        assert yaml.safe_load(f"[{word}]") == [word]  # and to others
    else:
        assert not is_text(word)


@pytest.mark.parametrize("kind", ["directory", "file", "link"])
def test_what_is_there_is_not_touched(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.chdir(tmp_path)
    there = Path("mine")
    {"directory": there.mkdir, "file": there.touch, "link": lambda: there.symlink_to("nowhere")}[kind]()
    assert main(["new-plugin", "mine"]) == 1
    assert capsys.readouterr().err == (
        "rayjobs: mine exists; nothing was changed in it: give another name, or move it away\n"
    )
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]
