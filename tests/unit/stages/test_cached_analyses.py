"""Analyses known from other jobs: found by content, never wrong, never of less than the whole image."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import Image

from actors.cache.cache_entry import decode, encode
from actors.cache.disk_cache import DiskCache
from pipelines.analyses import ANALYSES, AnalysisCalculator
from pipelines.contracts import ProcessorExtension
from pipelines.extensions.extension_adapters import ExtensionKind
from pipelines.extensions.extension_manager import process_extensions
from pipelines.stages.cached_analyses import Kept, content_of, keep, look_up
from rayjobs.job.job_state import JobState
from tests.places import Place, picture
from tests.quick_runs import request, run_here
from tests.strategies import example_image

KEPT = Kept("chain", (("statistics", "s"), ("sharpness", "h")))
SCALARS = ["statistics", "sharpness"]
JOB: dict[str, Any] = {"inputs": ["in/"], "operations": ["invert"], "analyses": [*SCALARS, "color_histogram"]}


def assert_same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        if isinstance(value, Mapping):
            assert_same(found[name], value)
        else:
            np.testing.assert_array_equal(found[name], value)


def run(place: Place, output: str, home: DiskCache | None, **changes: Any) -> JobState:
    return run_here(request(place.base, {**JOB, "output": output, **changes}), cache=home)


def table(output: Path, name: str = "analyses") -> pa.Table:
    """Numbers of a job's inputs; where they lie doesn't matter."""
    return pq.read_table(output / "data" / f"{name}.parquet")


def entries(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file() and path.name != "lock"]


@pytest.mark.parametrize("name", ANALYSES)
def test_every_analysis_comes_back_as_it_was_measured(tmp_path: Path, name: str) -> None:
    measured = AnalysisCalculator([name]).calculate_analyses(example_image("uint8", 3, (64, 80)))
    cache, kept, content = DiskCache(tmp_path), Kept("chain", ((name, "1"),)), content_of(b"file")
    keep(cache, kept, look_up(cache, kept, content), measured)
    assert_same(look_up(cache, kept, content).results, measured)


def test_an_entry_is_one_image_of_one_content_after_one_chain(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path)
    content = content_of(b"file")
    keep(cache, KEPT, look_up(cache, KEPT, content), {"statistics": {"mean": 1.5}, "other": {"mean": 2}})
    assert look_up(cache, KEPT, content).results == {"statistics": {"mean": 1.5}}
    keep(cache, KEPT, look_up(cache, KEPT, content), {"sharpness": {"mean": 3}})
    assert look_up(cache, KEPT, content).results == {"statistics": {"mean": 1.5}, "sharpness": {"mean": 3}}
    assert not look_up(cache, KEPT, content, frame=1).results
    assert not look_up(cache, KEPT, content_of(b"File")).results
    assert not look_up(cache, Kept("other", KEPT.names), content).results
    assert not look_up(cache, Kept("chain", (("statistics", "of another version"),)), content).results


def test_a_worker_uses_the_same_directory_of_its_own_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYJOBS_HOME", str(tmp_path / "driver"))
    sent = pickle.dumps(DiskCache(max_bytes=10_000))
    monkeypatch.setenv("RAYJOBS_HOME", str(tmp_path / "worker"))
    pickle.loads(sent).put("ab" * 20, {"mean": 1})
    assert len(entries(tmp_path / "worker" / "cache")) == 1
    pickle.loads(sent).put("ab" * 20, {"text": "x" * 9_000})  # beyond the bound's share for one
    assert len(entries(tmp_path / "worker" / "cache")) == 1


@pytest.mark.parametrize(("cache", "known"), [("auto", 8), ("on", 12), (True, 12), ("off", 0), (False, 0)])
def test_a_second_job_with_another_output_takes_what_is_known(place: Place, cache: object, known: int) -> None:
    home = DiskCache(place.base / "cache")
    assert run(place, "one", home, cache=cache).known == 0
    assert len(entries(place.base / "cache")) == (4 if known else 0)
    shutil.move(place.base / "in", place.base / "moved")
    second = run(place, "two", home, inputs=["moved/"], cache=cache)
    assert second.known == known
    assert second.to_json().get("known", 0) == known
    one, two = table(place.base / "one"), table(place.base / "two")
    assert one.drop_columns("input").equals(two.drop_columns("input"))
    for image in (place.base / "one/images").rglob("*.jpg"):
        other = place.base / "two/images" / image.relative_to(place.base / "one/images")
        assert other.read_bytes() == image.read_bytes()


def test_numbers_come_from_the_cache_and_not_from_the_pixels(place: Place) -> None:
    home = place.base / "cache"
    run(place, "one", DiskCache(home))
    for path in entries(home):
        entry = decode(path.name, path.read_bytes())
        name = next(name for name in entry if "statistics" in name)
        path.write_bytes(encode(path.name, {**entry, name: {**entry[name], "luma_mean": 1234.5}}))
    run(place, "two", DiskCache(home))
    assert set(table(place.base / "two").column("statistics_luma_mean").to_pylist()) == {1234.5}


def test_only_what_is_lacking_is_measured(place: Place) -> None:
    home = DiskCache(place.base / "cache")
    run(place, "one", home, analyses=["statistics"])
    assert run(place, "two", home, analyses=SCALARS).known == 4
    assert run(place, "three", home, analyses=SCALARS).known == 8


@pytest.mark.parametrize(
    "other",
    [
        {"operations": []},
        {"operations": [{"brightness_contrast": {"brightness": 0.1}}]},
        {"read": {"color": "keep"}},
        {"analyses": [{"statistics": {"percentiles": [7]}}, {"sharpness": {}}]},
    ],
    ids=["no chain", "another chain", "colour", "parameters"],
)
def test_what_decides_a_number_is_part_of_its_name(place: Place, other: dict[str, Any]) -> None:
    home = DiskCache(place.base / "cache")
    run(place, "one", home, analyses=SCALARS)
    assert run(place, "two", home, **{"analyses": SCALARS, **other}).known in (0, 4 * ("percentiles" in str(other)))
    expected = run(place, "three", None, **{"analyses": SCALARS, **other})
    assert expected.known == 0
    assert table(place.base / "two").equals(table(place.base / "three"))


def test_a_changed_picture_is_another_one(place: Place) -> None:
    home = DiskCache(place.base / "cache")
    run(place, "one", home)
    picture(place.base / "in/p1.png", 99)
    assert run(place, "two", home).known == 3 * len(SCALARS)


@pytest.mark.parametrize("on", [True, False])
def test_tables_and_charts_of_known_analyses_are_the_same(place: Place, on: bool) -> None:
    home = DiskCache(place.base / "cache")
    job = {"analyses": ["scopes", *SCALARS], "export": {"data": ["parquet"], "charts": on}, "cache": True}
    run(place, "one", home, **job)
    again = run(place, "two", home, **job)
    assert again.known == 4 * 8
    assert table(place.base / "one").equals(table(place.base / "two"))
    charts = sorted((place.base / "one/charts").rglob("*.png"))
    assert len(charts) == (24 if on else 0)
    for chart in charts:
        assert (place.base / "two" / chart.relative_to(place.base / "one")).read_bytes() == chart.read_bytes()


def test_what_was_measured_of_half_an_image_is_never_kept(place: Place) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (200, 200, 3), np.uint8)
    Image.fromarray(noise).save(place.base / "in/cut.jpg")
    whole = (place.base / "in/cut.jpg").read_bytes()
    (place.base / "in/cut.jpg").write_bytes(whole[: len(whole) // 2])
    home = DiskCache(place.base / "cache")
    for output, known in (("one", 0), ("two", 8)):
        state = run(place, output, home, analyses=SCALARS, read={"truncated": "salvage"})
        assert (state.done, state.known) == (5, known)


@pytest.mark.parametrize("export", [{"images": False}, {"images": {"format": "png"}}], ids=["measured", "exported"])
def test_each_image_of_a_file_is_known_by_itself(place: Place, export: dict[str, Any]) -> None:
    frames = np.random.default_rng(2).integers(0, 256, (3, 20, 30, 3), np.uint8)
    tifffile.imwrite(place.base / "in/pages.tif", frames, photometric="rgb")
    home, job = DiskCache(place.base / "cache"), {"read": {"frames": "all"}, "export": export, "analyses": SCALARS}
    run(place, "one", home, **job)
    assert len(entries(place.base / "cache")) == 4 + 3
    assert run(place, "two", home, **job).known == 5 * len(SCALARS)  # counted for the first image of each file
    for name in ("analyses", "frames"):
        assert table(place.base / "one", name).equals(table(place.base / "two", name))


class Brighter(ProcessorExtension):
    """Adds 10."""

    def process(self, image: Any, config: Mapping[str, Any]) -> Any:
        return np.clip(image.astype(int) + 10, 0, 255).astype(np.uint8)

    def get_name(self) -> str:
        return "brighter"

    def get_supported_configs(self) -> list[str]:
        return []


@pytest.mark.parametrize(("version", "known"), [("1.2", 8), ("0", 0), ("unknown", 0)])
def test_extensions_without_a_version_leave_nothing(place: Place, version: str, known: int) -> None:
    unregister = process_extensions().register(ExtensionKind.PROCESSOR, "brighter", Brighter(), version=version)
    try:
        home, job = DiskCache(place.base / "cache"), {"operations": ["brighter"], "plugins": ["brighter"]}
        run(place, "one", home, **job)
        assert run(place, "two", home, **job).known == known
        assert len(entries(place.base / "cache")) == (4 if known else 0)
    finally:
        unregister()


def test_the_cache_stays_within_its_bound_and_lets_the_oldest_go(place: Place) -> None:
    for number in range(40):
        picture(place.base / f"in/more{number}.png", 5 * number)
    small = DiskCache(place.base / "cache", max_bytes=30_000)
    run(place, "one", small)
    assert sum(path.stat().st_size for path in entries(place.base / "cache")) <= 30_000
    again = run(place, "two", DiskCache(place.base / "cache", max_bytes=30_000))
    assert 0 < again.known < 44 * len(SCALARS)
    assert again.done == 44
