"""Ray's memory monitor really ends a worker: its image is tried alone with more memory, and nothing else is lost."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from tests.leaks import wait_until
from tests.runs import ROOT, attempts, command, environment, manifest, rayjobs, write_job, write_photographs

COUNT = 12
GIB = 2**30
HOG_BYTES = 4 * GIB
GROUPS = Path("/sys/fs/cgroup/memory")
ROOM_BYTES = 3 * GIB
"""What may be used beyond what is used now: Ray and two workers fit, the hog doesn't."""
PLUGIN = f"""
import os, time
from pathlib import Path
import numpy as np
from rayjobs.plugins import ProcessorExtension

class Hog(ProcessorExtension):
    '''Takes memory until it is ended: always for red pictures, once for green ones.'''

    def process(self, image, config):
        colour = tuple(int(v) for v in image[0, 0, :3])
        mark = Path(os.environ["HOG_MARK"])
        if colour == (255, 0, 0) or (colour == (0, 255, 0) and not mark.exists()):
            if colour == (0, 255, 0):
                mark.touch()
            taken = [np.ones(2**24, np.uint8) for _ in range({HOG_BYTES} // 2**24)]
            time.sleep(60)
            raise AssertionError(f"nobody minded {{len(taken)}} pieces")
        return image

    def get_name(self):
        return "hog"

    def get_supported_configs(self):
        return []
"""


def hog_site(root: Path) -> Path:
    site = root / "site"
    (site / "hog-1.0.dist-info").mkdir(parents=True)
    (site / "hog_plugin.py").write_text(PLUGIN)
    (site / "hog-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: hog\nVersion: 1.0\n")
    (site / "hog-1.0.dist-info/entry_points.txt").write_text("[rayjobs.processors]\nhog = hog_plugin:Hog\n")
    return site


def hog_job(root: Path, **more: Any) -> Path:
    """A job over photographs and two pictures that take memory: one always, one once."""
    write_photographs(root / "photos", COUNT)
    Image.new("RGB", (64, 48), (255, 0, 0)).save(root / "photos/photo-0004-always.png")
    Image.new("RGB", (64, 48), (0, 255, 0)).save(root / "photos/photo-0008-once.png")
    return write_job(
        root,
        plugins=["hog"],
        operations=["hog"],
        analyses=["statistics"],
        export={"images": {"format": "png"}, "data": ["parquet"]},
        **more,
    )


@pytest.mark.skipif(
    psutil.virtual_memory().available < HOG_BYTES + 2 * GIB, reason="needs 6 GiB of memory that nobody uses"
)
def test_an_image_whose_worker_is_killed_for_memory_gets_more_and_then_fails_alone(tmp_path: Path) -> None:
    job = hog_job(tmp_path, limits={"attempts": 3, "workers": 2}, max_failures=1)
    memory = psutil.virtual_memory()
    done = rayjobs(
        "run",
        job,
        "--json",
        "--allow-plugin",
        "hog",
        home=tmp_path,
        PYTHONPATH=f"{hog_site(tmp_path)}{os.pathsep}{ROOT}",
        HOG_MARK=str(tmp_path / "mark"),
        RAY_memory_usage_threshold=f"{(memory.total - memory.available + ROOM_BYTES) / memory.total:.4f}",
        RAY_memory_monitor_refresh_ms="100",
    )
    assert done.code == 0, done.err
    rows = {Path(row["input"]).stem: row for row in manifest(tmp_path / "out")}
    assert len(rows) == COUNT + 2
    assert [name for name, row in rows.items() if row["status"] != "done"] == ["photo-0004-always"]
    always = rows["photo-0004-always"]
    assert (always["status"], always["reason"]) == ("failed", "out_of_memory")
    assert "memory" in always["message"]
    assert (tmp_path / "mark").exists()
    tries = Counter(number for number, _, _ in attempts(tmp_path / "out"))
    assert max(tries.values()) <= 4
    assert rows["photo-0008-once"]["degraded"] is None


@contextmanager
def memory_group(limit_bytes: int) -> Iterator[Path]:
    """A control group whose processes may use so much memory together."""
    group = GROUPS / f"rayjobs-test-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(limit_bytes))
        yield group
    finally:
        wait_until(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


@pytest.mark.skipif(
    not (GROUPS / "cgroup.procs").exists() or not os.access(GROUPS, os.W_OK),
    reason="needs the memory controller of control groups, version 1, and to be root",
)
def test_a_process_that_the_kernel_ends_for_memory_is_told_from_one_that_crashed(tmp_path: Path) -> None:
    job = hog_job(tmp_path, limits={"attempts": 2, "workers": 2})
    variables = environment(
        tmp_path, PYTHONPATH=f"{hog_site(tmp_path)}{os.pathsep}{ROOT}", HOG_MARK=str(tmp_path / "mark")
    )
    with memory_group(ROOM_BYTES) as group:
        inside = ["sh", "-c", f'echo $$ > "{group}/cgroup.procs"; exec "$@"', "sh"]
        run = [*inside, *command("run", job, "--allow-plugin", "hog")]
        done = subprocess.run(run, capture_output=True, text=True, check=False, env=variables, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    rows = {Path(row["input"]).stem: row for row in manifest(tmp_path / "out")}
    assert len(rows) == COUNT + 2
    assert {name: row["reason"] for name, row in rows.items() if row["status"] != "done"} == {
        "photo-0004-always": "out_of_memory"
    }
    assert "the kernel ended its process" in rows["photo-0004-always"]["message"]
