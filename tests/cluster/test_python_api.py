"""The example of the Python API, as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.runs import ROOT, check_outputs, environment, manifest


def test_python_api_example(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples/python_api.py", tmp_path / "out"],
        capture_output=True,
        text=True,
        check=False,
        env=environment(tmp_path / "home"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    first, *sharpest, last = done.stdout.strip().splitlines()
    assert first == "python-api: completed, 6 of 6 images"
    assert [line.split()[1] for line in sharpest][-1] == "retina.jpg"
    assert last.startswith("export completed: ")
    assert Path(last.removeprefix("export completed: ")).is_file()
    check_outputs(tmp_path / "out", manifest(tmp_path / "out"))
