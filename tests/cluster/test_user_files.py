"""The whole program among a user's files: run, killed, damaged, changed, run again, pruned; nothing of theirs is lost.

A few histories by seed; thousands of them, without Ray, are tried by ``tests/unit/whole_runs/test_custody_machine.py``.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from pathlib import Path
from random import Random
from typing import Any

import pytest
from PIL import Image

from tests.gate import Gate
from tests.leaks import wait_until
from tests.runs import command, environment, final_rows, manifest, rayjobs, write_job

PLACES = ("photos", "photos/trip", "photos/images", "images", "out/images", "data", "out/data")


def picture(path: Path, level: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (640, 400), (level, 255 - level, 90)).save(path)
    return path


def tree(base: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(base)): path.read_bytes()
        for path in sorted(base.rglob("*"))
        if path.is_file() and ".rayjobs" not in path.parts
    }


def check(output: Path, base: Path, mine: dict[str, bytes]) -> None:
    """Every byte of the user's is there, every row is true, and no result is an input."""
    now = tree(base)
    assert {name: now.get(name) for name in mine} == mine
    rows = manifest(output)
    for row in rows:
        assert os.path.relpath(os.fsdecode(row["input_bytes"]), base) in mine
        for entry in row["outputs"]:
            assert hashlib.sha256((output / entry["path"]).read_bytes()).hexdigest() == entry["sha256"]
    assert {row["status"] for row in rows} == {"done"}


@pytest.mark.parametrize(
    ("seed", "output", "layout"), [(1, ".", "mirror"), (2, "photos", "beside"), (3, "out", "flat")]
)
def test_nothing_of_the_users_is_lost_and_every_row_is_true(
    tmp_path: Path, seed: int, output: str, layout: str
) -> None:
    random, base, home = Random(seed), tmp_path / "project", tmp_path / "home"
    home.mkdir()
    gate = Gate(tmp_path / "gate")
    for number in range(24):
        picture(base / random.choice(PLACES[:3]) / f"p{number:02d}.{random.choice(['jpg', 'png'])}", 10 * number)
    for number, place in enumerate(random.sample(PLACES, 5)):
        path = base / place / f"mine{number}.{random.choice(['txt', 'csv', 'md'])}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"mine {number}")
    images = {"format": "jpeg", "layout": layout, "name": "{stem}_look"}
    keys: dict[str, Any] = {
        "inputs": ["photos/"],
        "output": output,
        "operations": ["gate", {"median": {"radius": 5}}],
        "plugins": ["gate"],
        "limits": {"workers": 2},
        "analyses": ["statistics"],
    }
    job = write_job(base, **keys, export={"images": images, "data": ["parquet", "csv"], "charts": True})
    mine = tree(base)
    root = Path(os.path.normpath(base / output))

    gate.shut(after=6)
    variables = environment(home, **gate.variables)
    driver = subprocess.Popen(command("run", job), env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: driver.poll() is not None or final_rows(root) >= 3, timeout_s=120)
    driver.send_signal(signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL
    gate.open()
    now = tree(base)
    assert {name: now[name] for name in mine} == mine

    assert rayjobs("run", job, home=home, **gate.variables).code == 0
    check(root, base, mine)
    assert rayjobs("verify", root, "--deep", home=home).code == 0

    listed = [root / entry["path"] for row in manifest(root) for entry in row["outputs"]]
    gone, theirs = random.sample([path for path in listed if path.suffix == ".jpg"], 2)
    gone.unlink()
    theirs.write_bytes(b"retouched")
    mine[os.path.relpath(os.path.normpath(theirs), base)] = b"retouched"
    left = next(path for path in sorted(base.glob("photos/**/*.png")))
    left.unlink()
    del mine[str(left.relative_to(base))]
    assert rayjobs("verify", root, home=home).code == 2
    assert rayjobs("run", job, home=home, **gate.variables).code == 0
    check(root, base, mine)
    assert gone.exists() or seed == 2

    before = tree(base)
    assert rayjobs("prune", root, home=home).code == 0
    assert tree(base) == before
    assert rayjobs("prune", root, "--yes", home=home).code == 0
    check(root, base, mine)
    again = rayjobs("run", job, home=home, **gate.variables)
    assert "nothing to do; 23 were done before" in again.out
