"""What the shells offer, asked as each of them asks."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from actors.ledger.job_registry import JobRegistry

SCRIPTS = {
    "bash": """
        eval "$(rayjobs completion bash)"
        complete -p rayjobs > /dev/null
        ask() {
            COMP_LINE=$1; COMP_POINT=${#1}
            _python_argcomplete rayjobs
            printf '%s\\n' "${COMPREPLY[@]}"
        }
    """,
    "zsh": """
        autoload -U compinit; compinit -D -u
        eval "$(rayjobs completion zsh)"
        _describe() { print -rl -- "${(@P)2}" }
        ask() {
            BUFFER=$1; CURSOR=${#1}; words=(${(z)1})
            $_comps[rayjobs]
        }
    """,
    "fish": """
        rayjobs completion fish | source
        function ask
            complete --do-complete $argv[1]
        end
    """,
}
"""They define ``ask LINE``, which prints what is offered where the line ends, one a line."""


def offered_by(shell: str, lines: Sequence[str]) -> list[set[str]]:
    """What a shell offers at the end of each line, without the help behind it."""
    if shutil.which(shell) is None and not os.environ.get("RAYJOBS_REQUIRE_TOOLS"):
        pytest.skip(f"{shell} isn't installed (`make tools`): its completion isn't tried")
    asked = "".join(f"ask {shlex.quote(line)}\necho ----\n" for line in lines)
    plain = ["-f"] if shell == "zsh" else []  # without files of the user or the machine
    command = [shell, *plain, "-c", SCRIPTS[shell] + asked]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    answers = done.stdout.split("----\n")
    assert len(answers) == len(lines) + 1, done.stderr
    behind = {"bash": " ", "zsh": ":", "fish": "\t"}[shell]
    return [{word.split(behind)[0] for word in answer.splitlines()} for answer in answers[:-1]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory with job files, a picture and the output of a job that is known; `rayjobs` is on the path."""
    program = tmp_path / "bin/rayjobs"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m rayjobs "$@"\n')
    program.chmod(0o755)
    place = tmp_path / "here"
    (place / "autumn-results").mkdir(parents=True)
    for name in ("job.yaml", "jolly.jpg", "job-2.json"):
        (place / name).touch()
    JobRegistry(tmp_path / "home").add("autumn-0001", "autumn", place / "autumn-results")
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("RAYJOBS_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(place)


@pytest.mark.parametrize("shell", SCRIPTS)
@pytest.mark.usefixtures("here")
def test_a_shell_offers_commands_jobs_files_and_names(shell: str) -> None:
    expected = {
        "rayjobs ca": {"cancel"},
        "rayjobs run jo": {"job.yaml", "job-2.json"},
        "rayjobs status autumn": {"autumn-0001", "autumn-results/"},
        "rayjobs operations gau": {"gaussian"},
        "rayjobs analyses luma_": {"luma_waveform"},
        "rayjobs run job.yaml --pri": {"--priority"},
        "rayjobs retry-failed autumn-0001 --reason trunc": {"truncated"},
    }
    assert dict(zip(expected, offered_by(shell, list(expected)), strict=True)) == expected
