"""``--json``: every command has it, and prints what the one schema says."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import jsonschema
import pytest

from rayjobs.command_line.cli import main, parser
from rayjobs.command_line.json_outputs import LINES, OUTPUTS, output_schema
from rayjobs.command_line.waiting import WAITED_FOR
from tests.places import JOB, Place, picture

TEXTS = {"completion"}
"""Commands whose output is for a shell."""


def commands() -> dict[str, argparse.ArgumentParser]:
    (found,) = [action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found.choices)


def test_every_command_prints_json_and_says_what() -> None:
    with_json = {name for name, sub in commands().items() if "--json" in sub._option_string_actions}
    assert with_json == set(OUTPUTS) == set(commands()) - TEXTS
    assert set(WAITED_FOR) < set(commands())


@pytest.fixture
def finished(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A job with a failure that has ended, and a job file over it; the directory is the current one."""
    monkeypatch.chdir(place.base)
    picture(place.base / "in/broken.png", 9).write_bytes(b"no picture")
    job = {"name": "quick", "output": "out", "max_failures": 1, **JOB}
    place.run(job=job)
    Path("job.yaml").write_text(json.dumps(job))
    return place


@pytest.mark.parametrize(
    "words",
    [
        ["status", "out"],
        ["watch", "out"],
        ["history", "out"],
        ["list"],
        ["list", "--all"],
        ["report", "out"],
        ["results", "out"],
        ["cancel", "out"],
        ["pause", "out"],
        ["verify", "out", "--deep"],
        ["prune", "out"],
        ["rebuild", "out"],
        ["plan", "job.yaml"],
        ["run", "job.yaml"],
        ["resume", "out"],
        ["operations"],
        ["operations", "gaussian"],
        ["analyses"],
        ["charts"],
        ["extensions"],
        ["new-plugin", "mine"],
        ["init", "other.yaml", "--schema"],
        ["doctor", "--no-ray"],
    ],
    ids=" ".join,
)
def test_what_is_printed_is_what_the_schema_says(
    words: list[str], finished: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--json"]) in (0, 2)
    out = capsys.readouterr().out
    schema = output_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    one = {**schema, "$ref": f"#/$defs/{words[0]}"}
    printed = [json.loads(line) for line in out.splitlines()]
    assert len(printed) == 1 or words[0] in LINES
    for value in printed:
        jsonschema.validate(value, one)


def test_the_list_has_dates_and_sizes(finished: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    wrote = sum(
        path.stat().st_size for path in finished.out.rglob("*") if ".rayjobs" not in path.parts and path.is_file()
    )
    assert row["bytes"] == wrote
    assert main(["list"]) == 0
    assert f"{wrote / 1024:.1f} KiB" in capsys.readouterr().out
