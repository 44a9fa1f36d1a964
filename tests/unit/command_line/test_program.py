"""The program whatever its streams, its locale, its directory and its home are: one line, and never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rayjobs.command_line.cli import main
from tests.runs import environment

RAYJOBS = str(Path(sys.executable).with_name("rayjobs"))
HELLO = "写真 é 😀"


def program(
    *words: str, home: Path, cwd: Path | None = None, shell: str = "", **variables: str | None
) -> subprocess.CompletedProcess[str]:
    """Run it; ``shell`` is what follows it on a command line."""
    env = {key: value for key, value in {**environment(home), **variables}.items() if value is not None}
    line = ["sh", "-c", f'"$0" "$@" {shell}', RAYJOBS, *words] if shell else [RAYJOBS, *words]
    return subprocess.run(
        line, capture_output=True, text=True, check=False, env=env, cwd=cwd or home, errors="surrogateescape"
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


@pytest.mark.parametrize("shell", ["| true", "2>&1 | true", ">&-", "2>&-", "<&- >&- 2>&-", "| head -1"])
def test_closed_streams_and_pipes_are_no_trouble(shell: str, home: Path) -> None:
    done = program("operations", home=home, shell=shell)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", [("operations",), ("operations", "--json")])
def test_a_full_standard_output_is_told(words: tuple[str, ...], home: Path) -> None:
    done = program(*words, home=home, shell=">/dev/full")
    assert done.returncode == 1
    assert done.stderr == "rayjobs: standard output can't be written: No space left on device\n"


def test_a_file_that_gets_the_number_of_a_closed_stream_receives_nothing(home: Path) -> None:
    """``list`` opens a database, and something complains on standard error while it does."""
    code = (
        "import os, sys; from rayjobs.command_line import program; program.open_streams()\n"
        f"file = os.open({str(home / 'file')!r}, os.O_RDWR | os.O_CREAT)\n"
        "assert file > 2, file\n"
        "print('out'); print('err', file=sys.stderr); os.write(2, b'from C')\n"
    )
    line = ["sh", "-c", '"$0" -c "$1" <&- >&- 2>&-', sys.executable, code]
    assert subprocess.run(line, check=False, env=environment(home)).returncode == 0
    assert (home / "file").read_bytes() == b""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", None])
def test_names_in_any_letters_are_fine_in_any_locale(encoding: str | None, home: Path) -> None:
    (home / HELLO).mkdir()
    (home / HELLO / "in").mkdir()
    (home / HELLO / "job.yaml").write_text(
        json.dumps({"name": "a", "inputs": ["in/"], "analyses": ["statistics"], "output": "out"})
    )
    done = program(
        "run",
        f"{HELLO}/job.yaml",
        "--json",
        home=home,
        LC_ALL="C",
        PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
        PYTHONIOENCODING=encoding,
    )
    assert done.returncode == 1  # there is nothing in the folder
    told = json.loads(done.stdout)
    assert told["output"] == str(home / HELLO / "out")
    assert told["error"].startswith(f"inputs: {home / HELLO / 'in'}") or HELLO in told["error"]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("level", ["1", "2"])
def test_python_may_leave_asserts_and_docstrings_out(level: str, home: Path) -> None:
    done = program("operations", home=home, PYTHONOPTIMIZE=level)
    assert done.returncode == 0
    assert "Blur with a Gaussian." in done.stdout


@pytest.mark.parametrize("words", [[RAYJOBS], [sys.executable, "-m", "rayjobs"]])
def test_a_current_directory_that_is_gone_is_told(words: list[str], home: Path) -> None:
    line = ["sh", "-c", 'mkdir gone && cd gone && rmdir ../gone && "$0" "$@" list', *words]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment(home), cwd=home)
    assert done.returncode == 1
    said = [
        line for line in done.stderr.splitlines() if not line.startswith("sh: ")
    ]  # which starts us, and tells as well
    assert len(said) == 1
    assert said[0].startswith("rayjobs: the current directory is gone (No such file or directory); change to")


def test_a_user_without_home_and_account_is_asked_for_a_directory(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unknown(number: int) -> object:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("RAYJOBS_HOME", raising=False)
    monkeypatch.chdir(home)
    assert main(["list"]) == 1
    told = f"rayjobs: no home directory is known of user {os.getuid()}; set RAYJOBS_HOME to a directory of yours\n"
    assert capsys.readouterr().err == told
    assert list(home.iterdir()) == []


def test_a_home_that_cannot_be_written_is_named(home: Path) -> None:
    (home / "in").mkdir()
    (home / "file").write_text("in the way")
    done = program("list", home=home, RAYJOBS_HOME=str(home / "file" / "below"))
    assert "Traceback" not in done.stderr
    done = program("init", home=home)
    assert done.returncode == 0


@pytest.mark.parametrize("words", [[RAYJOBS], [sys.executable, "-m", "rayjobs"]])
def test_a_file_beside_the_user_is_never_run(words: list[str], home: Path) -> None:
    """All modules there are, with a Ray, are tried in ``tests/cluster/test_ways_to_end.py``."""
    here = home / "here"
    here.mkdir()
    for name in ("numpy", "yaml", "json", "PIL", "pipelines", "actors", "signal", "typing", "functools", "re"):
        (here / f"{name}.py").write_text(f"open({str(home / 'ran')!r}, 'a').write({name!r})\nraise SystemExit(7)\n")
    env = {key: value for key, value in environment(home).items() if key != "PYTHONPATH"}
    done = subprocess.run([*words, "operations"], capture_output=True, text=True, check=False, env=env, cwd=here)
    assert done.returncode == 0, done.stderr
    assert not (home / "ran").exists(), (home / "ran").read_text()


def test_what_pythonpath_says_is_the_users(home: Path) -> None:
    (home / "sitecustomize.py").write_text(f"open({str(home / 'ran')!r}, 'w')\n")
    assert program("list", home=home, PYTHONPATH=str(home)).returncode == 0
    assert (home / "ran").exists()


def test_a_broken_library_of_the_program_itself_is_one_line(home: Path) -> None:
    (home / "pydantic.py").write_text("raise ImportError('undefined symbol: PyX')\n")
    done = program("list", home=home, PYTHONPATH=str(home))
    assert done.returncode == 1
    assert done.stderr.startswith("rayjobs: pydantic can't be imported on ")
    assert "undefined symbol: PyX" in done.stderr
    assert done.stderr.count("\n") == 1
