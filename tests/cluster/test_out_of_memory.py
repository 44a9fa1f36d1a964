"""Ray's memory monitor really ends a worker: its image is tried alone with more memory, and nothing else is lost."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import psutil
import pytest
from PIL import Image

from tests.runs import ROOT, attempts, manifest, rayjobs, write_job, write_photographs

COUNT = 12
GIB = 2**30
HOG_BYTES = 4 * GIB
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


@pytest.mark.skipif(
    psutil.virtual_memory().available < HOG_BYTES + 2 * GIB, reason="needs 6 GiB of memory that nobody uses"
)
def test_an_image_whose_worker_is_killed_for_memory_gets_more_and_then_fails_alone(tmp_path: Path) -> None:
    write_photographs(tmp_path / "photos", COUNT)
    Image.new("RGB", (64, 48), (255, 0, 0)).save(tmp_path / "photos/photo-0004-always.png")
    Image.new("RGB", (64, 48), (0, 255, 0)).save(tmp_path / "photos/photo-0008-once.png")
    site = tmp_path / "site"
    (site / "hog-1.0.dist-info").mkdir(parents=True)
    (site / "hog_plugin.py").write_text(PLUGIN)
    (site / "hog-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: hog\nVersion: 1.0\n")
    (site / "hog-1.0.dist-info/entry_points.txt").write_text("[rayjobs.processors]\nhog = hog_plugin:Hog\n")
    job = write_job(
        tmp_path,
        plugins=["hog"],
        operations=["hog"],
        analyses=["statistics"],
        export={"images": {"format": "png"}, "data": ["parquet"]},
        limits={"attempts": 3, "workers": 2},
        max_failures=1,
    )
    memory = psutil.virtual_memory()
    done = rayjobs(
        "run",
        job,
        "--json",
        "--allow-plugin",
        "hog",
        home=tmp_path,
        PYTHONPATH=f"{site}{os.pathsep}{ROOT}",
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
