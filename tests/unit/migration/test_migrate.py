"""Migration of the old batch format: what is written loads, means the same, and nothing of the old file is lost."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import JobError
from pipelines.models import ImageOperation
from pipelines.operations import Image, apply_operations
from rayjobs.command_line.cli import main
from rayjobs.job.job_file import load_job
from rayjobs.job.job_spec import JobSpec
from rayjobs.migration.migrate import migrate_file
from rayjobs.migration.old_operations import UnreadableOperationError, convert_operation, read_operation

SAMPLES = Path(__file__).resolve().parent.parent.parent / "data" / "legacy"


def write(tmp_path: Path, raw: Any) -> Path:
    old = tmp_path / "old.json"
    old.write_text(raw if isinstance(raw, str) else json.dumps(raw), encoding="utf-8")
    return old


def migrated(tmp_path: Path, **job: Any) -> tuple[JobSpec, dict[str, Any]]:
    """The one job file of an old job, and the values of the report by key."""
    done = migrate_file(write(tmp_path, {"name": "a", "source_paths": ["in"], **job}))
    return load_job(done.jobs[0]), {note.key: note.value for note in done.notes}


# ---- the samples -----------------------------------------------------------------------------------------------------


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SAMPLES, tmp_path / "legacy"))


def test_one_job(sample: Path) -> None:
    done = migrate_file(sample / "one-job.json")
    assert done.jobs == (sample / "autumn.yaml",)
    spec = load_job(done.jobs[0])
    assert [(step.name, dict(step.params)) for step in spec.operations][:1] == [
        ("brightness_contrast", {"brightness": 0.1, "contrast": 1.2})
    ]
    np.testing.assert_allclose(spec.operations[1].params["points"], np.array([[0, 0], [96, 110], [255, 255]]) / 255)
    assert spec.inputs == ["@autumn.inputs.txt"]
    assert (sample / "autumn.inputs.txt").read_text() == "photos/IMG_0001.jpg\nphotos/IMG_0002.jpg\n"
    assert spec.output == "export"
    images = spec.export.images
    assert images is not None
    assert (images.format, images.quality, images.layout, images.name) == ("jpeg", 92, "mirror", "{stem}_graded")
    assert spec.export.charts is None


def test_several_jobs(sample: Path) -> None:
    done = migrate_file(sample / "several-jobs.json")
    assert [path.name for path in done.jobs] == ["web.yaml", "scopes-only.yaml", "scopes-only-web.yaml"]
    web, scopes, scopes_of_web = map(load_job, done.jobs)
    assert web.inputs == scopes_of_web.inputs == ["C:/photos/a.tif", "C:/photos/b.tif"]
    assert web.operations == scopes_of_web.operations
    assert web.export.images is not None
    assert (web.export.images.name, web.export.images.compression) == ("web_{index:04d}", 6)
    assert (web.export.images.layout, web.export.images.on_conflict) == ("flat", "skip")
    assert [request.name for request in scopes.analyses] == ["color_histogram", "rgb_parade"]
    assert scopes.analyses == scopes_of_web.analyses
    assert scopes.export.images is scopes_of_web.export.images is None
    assert scopes.export.charts is not None
    assert (scopes.export.charts.format, scopes.export.data) == ("svg", ["xlsx"])
    assert {scopes.output, scopes_of_web.output} == {"out/scopes/scopes-only", "out/scopes/scopes-only-web"}
    values = {note.key: note.value for note in done.notes}
    assert values["ui_state"] == {"selected": "j2"}
    assert values["jobs[1].analysis_export.chart_quality"] == 95
    assert values["jobs[0].export_config.start_index"] == 10
    assert values["jobs[1].result_message"] == "disk full"


def test_text_operations(sample: Path) -> None:
    done = migrate_file(sample / "old-text-operations.json")
    spec = load_job(done.jobs[0])
    assert [step.name for step in spec.operations] == ["grayscale", "brightness_contrast"]
    assert spec.operations[1].params == {"brightness": 0.1, "contrast": 1.2}
    assert spec.export.images is not None
    assert spec.export.images.name == "{index:04d}-{stem}"
    values = {note.key: note.value for note in done.notes}
    assert values["operations[2]"] == "SomeForgottenOp(strength=3)"
    assert values["export_config.output_directory_mode"] == "save_in_place"


def test_the_report_has_every_note_and_the_old_file_stays(sample: Path) -> None:
    before = (sample / "several-jobs.json").read_bytes()
    done = migrate_file(sample / "several-jobs.json", sample / "new")
    assert (sample / "several-jobs.json").read_bytes() == before
    report = json.loads(done.report.read_text())
    assert report == done.to_json()
    assert [note["key"] for note in report["notes"]] == [note.key for note in done.notes]
    text = "\n".join(done.lines())
    assert all(note.key in text for note in done.notes)
    assert load_job(sample / "new" / "scopes-only.yaml").inputs == ["../scans"]


def test_the_command_prints_what_it_wrote_and_fails_with_one_message(
    sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["migrate", str(sample / "one-job.json"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["jobs"] == [str(sample / "autumn.yaml")]
    assert main(["migrate", str(sample / "one-job.json")]) == 1
    assert capsys.readouterr().err.startswith(f"rayjobs: {sample / 'autumn.inputs.txt'} exists; move it away")


# ---- operations ------------------------------------------------------------------------------------------------------


def run(image: Image, old: Any) -> Image:
    steps = convert_operation(read_operation(old)).steps
    operations = [ImageOperation(name, params) for step in steps for name, params in step.items()]
    return apply_operations(image, operations).pixels


RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        ("brightness_contrast", {"brightness": 20}, lambda v: v + 51),
        ("brightness_contrast", {"contrast": -100}, lambda v: v * 0 + 127.5),
        ("brightness_contrast", {"contrast": 100}, lambda v: (v - 127.5) * 2 + 127.5),
        ("color_balance", {"shadows": [100] * 3}, lambda v: v + 0.5 * (255 - v)),
        ("color_balance", {"highlights": [-100] * 3}, lambda v: v / 2),
        ("color_balance", {"midtones": [100] * 3}, lambda v: 255 * (v / 255) ** 0.5),
        ("levels", {"black": 10, "white": 200, "gamma": 2.0}, lambda v: 255 * np.clip((v - 10) / 190, 0, 1) ** 0.5),
        ("curves", {"points": [[255, 0], [0, 255]]}, lambda v: 255 - v),
        ("hue_saturation", {"lightness": 40}, lambda v: v + 0.4 * (255 - v)),
        ("hue_saturation", {"lightness": -40}, lambda v: v * 0.6),
        ("invert", {}, lambda v: 255 - v),
        ("threshold", {"value": 0}, lambda v: np.where(v > 0, 255, 0)),
        ("threshold", {"value": 100}, lambda v: np.where(v > 100, 255, 0)),
        ("threshold", {"value": 254}, lambda v: np.where(v > 254, 255, 0)),
        ("threshold", {"value": 255}, lambda v: v * 0),
        ("gaussian_blur", {"radius": 0}, lambda v: v),
        ("median", {"size": 1}, lambda v: v),
    ],
)
def test_the_documented_maths(name: str, params: dict[str, Any], expected: Any) -> None:
    done = run(RAMP, {"op": name, "params": params})
    np.testing.assert_allclose(done.astype(float), np.clip(expected(RAMP.astype(float)), 0, 255), atol=0.51)


@pytest.mark.parametrize("value", [0, 1, 57, 128, 253, 254, 255])
def test_a_threshold_is_exact_for_every_value(value: int) -> None:
    np.testing.assert_array_equal(run(RAMP, f"ThresholdOp({value})"), np.where(value < RAMP, 255, 0))


@pytest.mark.parametrize(
    ("text", "name", "params"),
    [
        ("GrayscaleOp()", "grayscale", {}),
        (" InvertOp ", "invert", {}),
        (
            "BrightnessContrastOp(brightness=10, contrast=-20)",
            "brightness_contrast",
            {"brightness": 10, "contrast": -20},
        ),
        ("LevelsOp(1, 2, gamma=3)", "levels", {"black": 1, "white": 2, "gamma": 3}),
        ("CurvesOp(points=[(0, 0), (255, 9)])", "curves", {"points": [(0, 0), (255, 9)]}),
    ],
)
def test_text_is_read_as_data(text: str, name: str, params: dict[str, Any]) -> None:
    old = read_operation(text)
    assert (old.name, old.params) == (name, params)


@pytest.mark.parametrize(
    "value",
    [
        "__import__('os').system('true')",
        "ThresholdOp(value=__import__('os').getpid())",
        "ThresholdOp(**{'value': 3})",
        "ThresholdOp(*[3])",
        "ThresholdOp(1, 2)",
        "ThresholdOp(1, value=2)",
        "ThresholdOp(value=[)",
        "(" * 5000,
        "a.b()",
        "\0",
        "",
        3,
        None,
        {"op": 3},
        {"op": "invert", "params": [1]},
    ],
    ids=lambda value: str(value)[:30] or "empty",
)
def test_what_is_no_operation_is_refused_and_never_run(value: Any) -> None:
    with pytest.raises(UnreadableOperationError):
        read_operation(value)


@pytest.mark.parametrize(
    "old",
    [
        {"op": "unheard"},
        {"op": "brightness_contrast", "params": {"brightness": 101}},
        {"op": "brightness_contrast", "params": {"brightness": True}},
        {"op": "brightness_contrast", "params": {"brightness": float("nan")}},
        {"op": "levels", "params": {"black": 200, "white": 100}},
        {"op": "curves", "params": {"points": [[0, 0], [0, 9]]}},
        {"op": "curves", "params": {"points": [[0, 0]]}},
        {"op": "color_balance", "params": {"shadows": 3}},
        {"op": "edge", "params": {"method": "laplace"}},
    ],
    ids=str,
)
def test_values_that_make_no_sense_are_reported(tmp_path: Path, old: dict[str, Any]) -> None:
    spec, values = migrated(tmp_path, operations=[{"op": "invert"}, old])
    assert [step.name for step in spec.operations] == ["invert"]
    assert str(values["operations[1]"]) == str(old)


def test_parameters_that_are_missing_or_unknown_are_reported(tmp_path: Path) -> None:
    old = {"op": "threshold", "params": {"level": 3}, "mask": "m"}
    spec, values = migrated(tmp_path, operations=[old])
    assert [step.name for step in spec.operations] == ["grayscale", "levels"]
    assert values == {"operations[0].params.level": 3, "operations[0].mask": "m", "operations[0]": old}


# ---- export ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"naming_pattern": "prefix", "prefix": "x_"}, "x_{stem}"),
        ({"naming_pattern": "suffix", "suffix": "{1}"}, "{stem}{{1}}"),
        ({"naming_pattern": "index", "index_digits": 6}, "{index:06d}"),
        ({"naming_pattern": "prefix", "prefix": "../a/b:"}, "___a_b_{stem}"),
        ({"naming_pattern": "custom", "custom_pattern": "{index}-{filename}-{date}"}, "{index:04d}-{stem}-{{date}}"),
        ({"naming_pattern": "custom", "custom_pattern": "same"}, "same_{index:04d}"),
        ({"naming_pattern": "strange"}, "{stem}"),
    ],
    ids=str,
)
def test_names(tmp_path: Path, config: dict[str, Any], name: str) -> None:
    spec, _ = migrated(tmp_path, export_config={"output_directory": "out", **config})
    assert spec.export.images is not None
    assert spec.export.images.name == name


def test_what_formats_lack_is_reported(tmp_path: Path) -> None:
    config = {"export_format": "bmp", "jpeg_quality": 80, "conflict_resolution": "ask", "prefix": "p", "own": 1}
    spec, values = migrated(tmp_path, export_config=config)
    assert spec.export.images is not None
    assert (spec.export.images.format, spec.export.images.on_conflict) == ("png", "rename")
    assert values == {f"export_config.{key}": value for key, value in config.items()}


def test_analyses_go_with_the_images_or_into_a_file_of_their_own(tmp_path: Path) -> None:
    config = {"output_directory": "out", "export_format": "png"}
    analysis = {"selected_analysis_types": ["rgb_parade", "odd"], "chart_format": "jpeg", "data_format": "csv"}
    spec, values = migrated(tmp_path, export_config=config, analysis_export={**analysis, "export_path": "out"})
    assert [request.name for request in spec.analyses] == ["rgb_parade"]
    assert spec.export.images is not None
    assert values["analysis_export.selected_analysis_types[1]"] == "odd"
    both = {"name": "a", "source_paths": ["in"], "export_config": config, "analysis_export": {"export_path": "x"}}
    apart = migrate_file(write(tmp_path, both), tmp_path / "new")
    outputs = {path.name: load_job(path).output for path in apart.jobs}
    assert outputs == {"a.yaml": "../out", "a-analysis.yaml": "../x"}


# ---- files -----------------------------------------------------------------------------------------------------------


def test_long_and_odd_lists_of_inputs_become_a_list_file(tmp_path: Path) -> None:
    paths = [f"photos/{number}.jpg" for number in range(300)]
    spec, _ = migrated(tmp_path, source_paths=[*paths, "photos/line\nbreak.jpg", "photos/\udcff.jpg", "@at.jpg"])
    assert spec.inputs == ["@a.inputs.txt"]
    listed = (tmp_path / "a.inputs.txt").read_bytes().split(b"\0")
    assert listed[:300] == [os.fsencode(path) for path in paths]
    assert listed[300:] == [b"photos/line\nbreak.jpg", b"photos/\xff.jpg", b"@at.jpg", b""]


def test_names_of_job_files_are_unique_and_nothing_is_overwritten(tmp_path: Path) -> None:
    jobs = [{"name": name, "source_paths": ["in"]} for name in ("A", "a", "a", "", "日本", 7)]
    old = write(tmp_path, {"jobs": jobs})
    done = migrate_file(old)
    assert [path.stem for path in done.jobs] == ["A", "a-2", "a-3", "job-4", "job-5", "job-6"]
    content = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(JobError, match=r"exists; move it away, or give another directory with -o"):
        migrate_file(old)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == content


def test_a_job_without_inputs_is_in_the_report_as_a_whole(tmp_path: Path) -> None:
    job = {"name": "empty", "source_paths": [], "operations": ["InvertOp()"]}
    done = migrate_file(write(tmp_path, job))
    assert done.jobs == ()
    assert {note.key: note.value for note in done.notes}["source_paths"] == job


def test_keys_that_stand_twice_are_reported(tmp_path: Path) -> None:
    done = migrate_file(write(tmp_path, '{"source_paths": ["a"], "operations": [{"op": "invert", "op": "equalize"}]}'))
    assert [step.name for step in load_job(done.jobs[0]).operations] == ["equalize"]
    assert {note.key: note.value for note in done.notes} == {"operations[0].op": "invert"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "holds neither"),
        ("{}", "no file of the old batch system"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("1" * 5000, "not JSON"),
    ],
    ids=["list", "nothing", "cut", "deep", "long number"],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(JobError, match=message):
        migrate_file(write(tmp_path, text))
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"none.json: No such file"):
        migrate_file(tmp_path / "none.json")


# ---- anything --------------------------------------------------------------------------------------------------------

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-300, 300) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
OPERATION = PLAIN | st.fixed_dictionaries(
    {"op": st.sampled_from(["levels", "curves", "median", "edge", "sharpen", "color_balance", "threshold"])},
    optional={"params": st.dictionaries(st.sampled_from(["black", "points", "size", "method", "value"]), PLAIN)},
)
CONFIG = st.fixed_dictionaries(
    {},
    optional={
        "output_directory": PLAIN | st.sampled_from(["out", "/tmp/x", "D:\\x"]),
        "output_directory_mode": PLAIN | st.sampled_from(["save_in_place", "maintain_directory_structure"]),
        "naming_pattern": PLAIN | st.sampled_from(["prefix", "suffix", "index", "prefix_index", "custom"]),
        "prefix": PLAIN,
        "suffix": PLAIN,
        "custom_pattern": PLAIN | st.text("{}filename/.index"),
        "index_digits": PLAIN,
        "start_index": PLAIN,
        "jpeg_quality": PLAIN,
        "export_format": PLAIN | st.sampled_from(["png", "jpeg", "bmp"]),
        "extra": PLAIN,
    },
)
JOB = st.fixed_dictionaries(
    {"source_paths": st.lists(st.text(min_size=1, max_size=9) | PLAIN, max_size=4)},
    optional={
        "name": PLAIN,
        "job_id": PLAIN,
        "operations": st.lists(OPERATION, max_size=3),
        "export_config": PLAIN | CONFIG,
        "analysis_export": PLAIN
        | st.fixed_dictionaries(
            {}, optional={"export_path": PLAIN, "selected_job_ids": PLAIN, "data_format": PLAIN, "chart_format": PLAIN}
        ),
        "extra": PLAIN,
    },
)


@settings(max_examples=60, deadline=None)
@given(jobs=st.lists(JOB, min_size=1, max_size=3))
def test_whatever_the_file_holds_job_files_load_and_unknown_values_are_in_the_report(
    tmp_path_factory: pytest.TempPathFactory, jobs: list[dict[str, Any]]
) -> None:
    directory = tmp_path_factory.mktemp("any")
    done = migrate_file(write(directory, {"jobs": jobs}))
    for path in done.jobs:
        load_job(path)
    report = json.loads(done.report.read_text())
    values = {(note["key"], json.dumps(note["value"])) for note in report["notes"]}
    for key, value in unknown(jobs):
        assert (key, json.dumps(value)) in values
    shutil.rmtree(directory)


def unknown(jobs: list[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    for index, job in enumerate(jobs):
        if "extra" in job:
            yield f"jobs[{index}].extra", job["extra"]
        config = job.get("export_config")
        if isinstance(config, dict) and "extra" in config:
            yield f"jobs[{index}].export_config.extra", config["extra"]
        for number, value in enumerate(job.get("operations", [])):
            if not isinstance(value, dict) or "op" not in value:
                yield f"jobs[{index}].operations[{number}]", value
        for number, path in enumerate(job["source_paths"]):
            if not isinstance(path, str):
                yield f"jobs[{index}].source_paths[{number}]", path


def test_text_that_looks_like_a_number_stays_text(tmp_path: Path) -> None:
    paths = ["1e3", "09", "0o17", ".5e3", "16:9", "01:30", "2026-11-26", "on"]
    done = migrate_file(write(tmp_path, {"name": "1e3", "source_paths": paths}))
    spec = load_job(done.jobs[0])
    assert spec.inputs == paths
    assert spec.name == "1e3"
