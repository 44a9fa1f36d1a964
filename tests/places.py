"""A directory of a user's with pictures and a job over them, run in this process."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from PIL import Image

from pipelines.models import ImageStatus
from rayjobs.job.job_state import JobState
from tests.quick_runs import request, run_here
from tests.runs import manifest

JOB: dict[str, Any] = {
    "inputs": ["in/"],
    "operations": ["invert"],
    "analyses": ["color_histogram", "statistics"],
    "export": {"images": {"format": "png"}, "data": ["parquet", "csv"], "charts": True},
}


def picture(path: Path, level: int, size: tuple[int, int] = (8, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, 255 - level, 90)).save(path)
    return path


def tree(*tops: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for top in tops for path in sorted(top.rglob("*")) if path.is_file()}


class Place:
    """A directory with four pictures and a job over them."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.out = base / "out"
        self.rows: list[ImageStatus] = []
        for number in range(4):
            picture(base / f"in/p{number}.png", 40 * number)

    def run(
        self, *, images: dict[str, Any] | None = None, job: dict[str, Any] | None = None, **options: Any
    ) -> JobState:
        changed = {**JOB, **(job or {})}
        if images is not None:
            changed["export"] = {**changed["export"], "images": {**changed["export"]["images"], **images}}
        self.rows = []
        return run_here(request(self.base, changed), rows=self.rows, **options)

    def listed(self) -> dict[str, bytes]:
        """Every output that the manifest lists, checked against its sha256."""
        found = {}
        for row in manifest(self.out):
            for output in row["outputs"]:
                data = (self.out / output["path"]).read_bytes()
                assert hashlib.sha256(data).hexdigest() == output["sha256"], output["path"]
                found[output["path"]] = data
        return found

    def data(self) -> dict[str, bytes]:
        return {name: (self.out / "data" / name).read_bytes() for name in ("analyses.parquet", "analyses.csv")}
