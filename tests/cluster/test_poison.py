"""Inputs that end, hang or exhaust their process fail alone: all others are done, and the job ends."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from PIL import Image

from tests.runs import (
    PROGRAM,
    ROOT,
    attempts,
    check_outputs,
    golden_tree,
    manifest,
    rayjobs,
    write_job,
    write_photographs,
)

COUNT = 40
ALLOWED = ("--allow-plugin", "poison", "--allow-plugin", "glutton")
PLUGIN = """
import os, signal, sys, time
from rayjobs.plugins import Analysis, Column, Parameters, ProcessorExtension

class Poison(ProcessorExtension):
    '''Does to its process what the colour of the picture says.'''

    def process(self, image, config):
        colour = tuple(int(v) for v in image[0, 0, :3]) if image.min() == image[0, 0].min() else None
        if colour == (255, 0, 0):
            os.abort()
        elif colour == (0, 255, 0):
            while True:
                time.sleep(1)
        elif colour == (0, 0, 255):
            os.kill(os.getpid(), signal.SIGKILL)
        elif colour == (255, 0, 255):
            raise MemoryError
        elif colour == (0, 255, 255):
            raise RuntimeError("the plug-in's own mistake, in b\\udcff.png")
        elif colour == (255, 255, 0):
            sys.exit(0)
        return image

    def get_name(self):
        return "poison"

    def get_supported_configs(self):
        return []

def glutton(image):
    '''Finds memory for no gray picture.'''
    if image.min() == image.max():
        raise MemoryError
    return {"mean": float(image.mean())}

COLUMNS = [Column("mean", "float64", "level", "Mean of all samples")]
GLUTTON = Analysis("glutton", "measurements", glutton, Parameters, lambda **_: COLUMNS)
"""
BY_RAY_DATA = """
import sys
from rayjobs.command_line.cli import main
from rayjobs.job import stage_needs

stage_needs.FEW_INPUTS = 0  # as if these were many
code = main()
sys.exit(code if "pipelines.stages.ray_stream" in sys.modules else "Ray Data had no part in it")
"""
POISON = {
    "red-abort": ((255, 0, 0), "crashed"),
    "green-hang": ((0, 255, 0), "timeout"),
    "blue-kill": ((0, 0, 255), "crashed"),
    "magenta-memory": ((255, 0, 255), "out_of_memory"),
    "cyan-error": ((0, 255, 255), "plugin_error"),
    "yellow-exit": ((255, 255, 0), "plugin_error"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("poison")
    write_photographs(root / "photos", COUNT)
    for name, (colour, _) in POISON.items():
        Image.new("RGB", (64, 48), colour).save(root / f"photos/photo-0020-{name}.png")
    Image.new("RGB", (64, 48), (9, 9, 9)).save(root / "photos/photo-0020-gray-lighter.png")
    site = root / "site"
    (site / "poison-1.0.dist-info").mkdir(parents=True)
    (site / "poison_plugin.py").write_text(PLUGIN)
    (site / "poison-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: poison\nVersion: 1.0\n")
    (site / "poison-1.0.dist-info/entry_points.txt").write_text(
        "[rayjobs.processors]\npoison = poison_plugin:Poison\n[rayjobs.analyses]\nglutton = poison_plugin:GLUTTON\n"
    )
    return root


@pytest.mark.parametrize(("stages", "output"), [("fused", "fused"), ("fused", "many"), ("staged", "staged")])
def test_exactly_the_poisoned_inputs_fail_each_with_its_reason(place: Path, stages: str, output: str) -> None:
    """As few inputs run, as many do, and stage by stage."""
    job = write_job(
        place,
        plugins=["poison", "glutton"],
        operations=["poison"],
        analyses=["statistics", "glutton"],
        export={"images": {"format": "png"}, "data": ["parquet"]},
        limits={"item_timeout": "4s", "attempts": 2},
        stages=stages,
        max_failures=len(POISON),
        output=output,
    )
    path = f"{place / 'site'}{os.pathsep}{ROOT}"
    program = ("-c", BY_RAY_DATA) if output == "many" else PROGRAM
    done = rayjobs("run", job, "--json", *ALLOWED, home=place, program=program, PYTHONPATH=path)
    assert done.code == 0, done.err
    assert done.json["done"] == COUNT + 1
    rows = manifest(place / output)
    failed = {Path(row["input"]).stem.removeprefix("photo-0020-"): row["reason"] for row in rows if row["reason"]}
    assert failed == {name: reason for name, (_, reason) in POISON.items()}
    assert all(row["message"] for row in rows if row["reason"])
    degraded = {Path(row["input"]).stem: row["degraded"] for row in rows if row["degraded"]}
    assert degraded == {"photo-0020-gray-lighter": "out of memory: analyses and charts left out"}
    check_outputs(place / output, rows)
    tries = defaultdict(Counter[str])
    for number, _, outcome in attempts(place / output):
        tries[number][outcome] += 1
    assert max(sum(counts.values()) for counts in tries.values()) <= 3
    assert not list((place / output / ".rayjobs").glob("tmp/*/*"))


def test_retry_failed_tries_those_of_a_reason_and_no_others(place: Path) -> None:
    before = Counter(number for number, _, _ in attempts(place / "fused"))
    path = f"{place / 'site'}{os.pathsep}{ROOT}"
    options = ("--reason", "plugin_error", *ALLOWED, "--json")
    done = rayjobs("retry-failed", place / "fused", *options, home=place, PYTHONPATH=path)
    assert done.code == 0, done.err
    assert done.json["failed"] == len(POISON)
    after = Counter(number for number, _, _ in attempts(place / "fused"))
    tried = {number for number in after if after[number] > before[number]}
    reasons = [row["reason"] for row in manifest(place / "fused")]
    assert len(tried) == reasons.count("plugin_error") == 2
    assert {name for name, (_, reason) in POISON.items() if reason == "plugin_error"} == {
        Path(row["input"]).stem.removeprefix("photo-0020-")
        for row in manifest(place / "fused")
        if row["reason"] == "plugin_error"
    }


def test_the_neighbours_are_as_they_are_without_the_poison(place: Path) -> None:
    write_job(
        place,
        inputs=["photos/*.jpg"],
        operations=None,
        analyses=["statistics"],
        export={"images": {"format": "png"}, "data": ["parquet"]},
        output="clean",
    )
    assert rayjobs("run", place / "job.yaml", "--json", home=place).code == 0
    clean = {path: digest for path, digest in golden_tree(place / "clean").items() if path.startswith("images/")}
    assert len(clean) == COUNT
    poisoned = golden_tree(place / "fused")
    assert {path: poisoned[path] for path in clean} == clean
