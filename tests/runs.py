"""Whole jobs for tests: small real images, the command line as a user runs it, and what is compared afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ("manifest.parquet", "images", "data", "charts")
"""What equal runs have in common, byte for byte; job.json, report and .rayjobs carry times."""

OPERATIONS: list[Any] = [
    {"brightness_contrast": {"brightness": 0.05, "contrast": 1.12}},
    {"unsharp_mask": {"radius": 2, "amount": 0.5}},
]


def write_photographs(directory: Path, count: int, *, size: tuple[int, int] = (96, 64), seed: int = 0) -> list[Path]:
    """Smooth colour pictures as JPEG, each different, the same on every call."""
    directory.mkdir(parents=True, exist_ok=True)
    width, height = size
    paths = []
    for number in range(count):
        random = np.random.default_rng([seed, number])
        coarse = Image.fromarray(random.integers(0, 256, (5, 7, 3), dtype=np.uint8))
        path = directory / f"photo-{number:04d}.jpg"
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(path, quality=92)
        paths.append(path)
    return paths


def write_job(directory: Path, **changes: Any) -> Path:
    """A job file in ``directory`` over ``directory/photos``; ``changes`` replace its keys."""
    job: dict[str, Any] = {
        "name": "test-job",
        "inputs": ["photos/"],
        "operations": OPERATIONS,
        "analyses": ["color_histogram", "luma_waveform", "statistics", "sharpness"],
        "export": {"images": {"format": "jpeg"}, "data": ["parquet", "csv"], "charts": True},
        "output": "out",
        **changes,
    }
    path = directory / "job.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in job.items() if value is not None}), encoding="utf-8")
    return path


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left: its exit code and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The last line, as ``--json`` prints it."""
        found: dict[str, Any] = json.loads(self.out.strip().splitlines()[-1])
        return found


def environment(home: Path, **more: str) -> dict[str, str]:
    """For a process that must neither see nor leave anything of this account's."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RAY")}
    return {**clean, "RAYJOBS_HOME": str(home), "PYTHONPATH": str(ROOT), **more}


PROGRAM = ("-m", "rayjobs")


def command(*arguments: str | Path, program: Sequence[str] = PROGRAM) -> list[str]:
    return [sys.executable, *program, *map(str, arguments)]


def rayjobs(
    *arguments: str | Path, home: Path, cwd: Path | None = None, program: Sequence[str] = PROGRAM, **more: str
) -> Done:
    """Run ``rayjobs``, or a program that calls it, as a process of its own."""
    begin = command(*arguments, program=program)
    variables = environment(home, **more)
    done = subprocess.run(begin, capture_output=True, text=True, check=False, env=variables, cwd=cwd or home)
    return Done(done.returncode, done.stdout, done.stderr)


def measured(output: Path, table: str = "analyses") -> list[dict[str, Any]]:
    """The rows of a table with their arrays, which lie in tables of their own in the same order."""
    rows = pq.read_table(output / f"data/{table}.parquet").to_pylist()
    found = [path.stem for path in (output / "data/scopes").glob("*.parquet")]
    names = [name for name in found if not (output / f"data/{name}.parquet").exists()]
    for name in names if table == "analyses" else [table]:
        for row, arrays in zip(rows, pq.read_table(output / f"data/scopes/{name}.parquet").to_pylist(), strict=True):
            assert {key: row.get(key, value) for key, value in arrays.items()} == arrays, "not of the same row"
            row.update(arrays)
    return rows


def manifest(output: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(output / "manifest.parquet").to_pylist()
    return rows


def golden_tree(output: Path) -> dict[str, str]:
    """Relative path -> sha256 of everything that equal runs have in common."""
    return {
        str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest()
        for name in GOLDEN
        for path in sorted([output / name] if (output / name).is_file() else (output / name).rglob("*"))
        if path.is_file()
    }


def final_rows(output: Path) -> int:
    """How many inputs have their final row, as anybody may ask while the job runs."""
    try:
        with sqlite3.connect(f"{(output / '.rayjobs/ledger.sqlite').as_uri()}?mode=ro", uri=True) as db:
            return int(db.execute("SELECT count(*) FROM inputs WHERE status IS NOT NULL").fetchone()[0])
    except sqlite3.OperationalError:  # not made yet
        return 0


def attempts(output: Path) -> list[tuple[int, int, str]]:
    """(input, run, outcome) of every attempt, in order."""
    with sqlite3.connect(f"{(output / '.rayjobs/ledger.sqlite').as_uri()}?mode=ro", uri=True) as db:
        return db.execute("SELECT input, epoch, outcome FROM attempts ORDER BY rowid").fetchall()


def check_outputs(output: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Every file of the manifest is there with its sha256, and no other image or chart is."""
    listed = {}
    for row in rows:
        for entry in row["outputs"]:
            data = (output / entry["path"]).read_bytes()
            assert hashlib.sha256(data).hexdigest() == entry["sha256"], entry["path"]
            assert len(data) == entry["bytes"]
            listed[entry["path"]] = entry
    found = {str(p.relative_to(output)) for d in ("images", "charts") for p in (output / d).rglob("*") if p.is_file()}
    assert found == set(listed)
