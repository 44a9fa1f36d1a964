"""Where Ray keeps its sockets: a directory that is too long for them is told before Ray starts, by its variable."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.runs import ROOT

CODE = """
from pipelines.errors import JobError
from rayjobs.run.embedded_sessions import check_temporary_directory
try:
    check_temporary_directory({environment!r})
except JobError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"TMPDIR": "/tmp/" + "t" * 110}, "TMPDIR=/tmp/ttt"),
        ({"TMPDIR": "/tmp", "RAY_TMPDIR": "/scratch/" + "ü" * 20}, "RAY_TMPDIR=/scratch/"),
        ({"TMPDIR": "/tmp/" + "t" * 110, "RAY_TMPDIR": "/tmp"}, ""),
        ({"TMPDIR": "/tmp/rjw1x2y3/case/tmp"}, ""),
        ({}, ""),
    ],
)
def test_a_directory_too_long_for_sockets_is_told_by_its_variable(environment: dict[str, str], says: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(environment=environment)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout.startswith(says)
    assert bool(done.stdout.strip()) == bool(says)
    if says:
        assert "set RAY_TMPDIR to a shorter directory" in done.stdout
