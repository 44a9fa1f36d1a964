"""Job files: every mistake at once, with its place and what to do; nothing in them is code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import JobError
from pipelines.models import AnalysisRequest, ImageOperation
from rayjobs.job_file import JobFileError, load_job, parse_job
from rayjobs.job_spec import job_schema
from rayjobs.job_tasks import planned_tasks
from rayjobs.ray_submit import resolved_job
from rayjobs.run import request_of

SMALL = "name: a\ninputs: [photos/]\noutput: out\n"


def mistakes(text: str) -> list[str]:
    with pytest.raises(JobFileError) as caught:
        parse_job(text, name="job.yaml")
    return str(caught.value).splitlines()


def test_a_small_job_has_defaults_for_all_the_rest() -> None:
    spec = parse_job(SMALL)
    assert spec.operations == ()
    assert spec.analyses == ()
    assert spec.export.images is None  # nothing is rendered, so no image is written
    assert spec.limits.memory_per_image == 2 * 2**30
    assert spec.limits.attempts == 3
    assert spec.read.truncated == "strict"
    assert spec.priority == "normal"


def test_the_job_of_the_design_is_read_as_it_says() -> None:
    spec = parse_job(
        """
name: autumn-look
inputs: ["photos/**/*.jpg", "scans/", "@files.txt"]
operations:
  - brightness_contrast: {brightness: 0.05, contrast: 1.1}
  - unsharp_mask: {radius: 2, amount: 0.5}
  - resize: {max_side: 2048}
analyses: [color_histogram, luma_waveform, statistics, sharpness]
export:
  images: {format: jpeg, quality: 90, layout: mirror, name: "{stem}", on_conflict: rename}
  data: [parquet, csv]
  charts: {format: png, engine: fast}
output: out/autumn
priority: normal
limits: {memory_per_image: 2GiB, item_timeout: 120s, attempts: 3, max_pixels: 2G, workers: auto}
read: {truncated: strict, frames: first, color: srgb}
max_failures: 5%
stages: auto
durability: process
plugins: []
"""
    )
    assert [operation.name for operation in spec.operations] == ["brightness_contrast", "unsharp_mask", "resize"]
    assert spec.operations[0].params == {"brightness": 0.05, "contrast": 1.1}
    assert [request.name for request in spec.analyses] == [
        "color_histogram",
        "luma_waveform",
        "statistics",
        "sharpness",
    ]
    assert spec.limits.max_pixels == 2 * 10**9
    assert spec.limits.item_timeout == 120
    assert spec.max_failures == "5%"
    assert spec.export.charts is not None


def test_every_mistake_is_told_at_once_with_line_and_column() -> None:
    found = mistakes(
        """name: two words
inputs: []
operations:
  - brightnes_contrast: {brightness: 0.1}
  - gamma: {gama: 2}
  - resize: {max_side: -5}
analyses: [statistic]
export:
  images: {quality: 200}
output: out
limits: {memory_per_image: lots}
colour: srgb
"""
    )
    places = [line.split(" ")[0] for line in found]
    assert places == sorted(places, key=lambda place: [int(n) for n in place.rstrip(":").split(":")[1:]])
    text = "\n".join(found)
    for expected in (
        "job.yaml:1:1: name:",
        "job.yaml:2:1: inputs:",
        "job.yaml:4:5: operations[0].brightnes_contrast: unknown operation",
        "did you mean 'brightness_contrast'",
        "job.yaml:5:13: operations[1].gamma.gama: unknown key; did you mean 'gamma'",
        "job.yaml:6:14: operations[2].resize.max_side:",
        "job.yaml:7:12: analyses[0]: unknown analysis 'statistic'; did you mean 'statistics'",
        "job.yaml:9:12: export.images.quality:",
        "job.yaml:11:10: limits.memory_per_image: expected a size such as 2GiB",
        "job.yaml:12:1: colour: unknown key",
    ):
        assert expected in text
    assert len(found) == 9


@pytest.mark.parametrize(
    ("export", "place", "message"),
    [
        ("charts: {format: png, engine: fats}", "4:25: export.charts.engine", "did you mean 'fast'?"),
        ("charts: {engine: x}", "4:12: export.charts.engine", "known: fast, matplotlib"),
        ("images: {format: jpeg, bit_depth: 16}", "4:26: export.images.bit_depth", "jpeg stores 8 bits per sample"),
        ("images: {format: png, compression: zstd}", "4:25: export.images.compression", "give 0 to 9"),
        ("images: {format: webp, compression: 3}", "4:26: export.images.compression", "use quality"),
    ],
)
def test_exports_that_can_not_be_written_are_mistakes_where_they_stand(export: str, place: str, message: str) -> None:
    (found,) = mistakes(f"name: a\ninputs: [b]\nexport:\n  {export}\noutput: c\n")
    assert found.startswith(f"job.yaml:{place}: ")
    assert message in found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("- a\n- b\n", "a job file is a mapping"),
        ("a: &x 1\nb: *x\n", "aliases"),
        ("a: !!python/object:os.system {}\n", "tags"),
        ("a: 1\na: 2\n", "stands here twice"),
        ("a: [1, 2\n", "job.yaml:2:1"),
        ("a: " + "[" * 40 + "]" * 40, "nested deeper than"),
        ("a: 1\nb: \x1f\n", "job.yaml:2:1: a character that no text has"),
        ("? [1, 2]\n: 3\n", "keys are words"),
    ],
)
def test_yaml_that_is_more_than_data_or_less_than_yaml_is_refused(text: str, message: str) -> None:
    assert message in mistakes(text)[0]


def test_scopes_and_all_stand_for_analyses() -> None:
    scopes = parse_job(SMALL + "analyses: scopes\n").analyses
    assert [request.name for request in scopes] == [
        "color_histogram",
        "luma_waveform",
        "rgb_parade",
        "hue_histogram",
        "saturation_histogram",
        "lab_chromaticity",
    ]
    everything = parse_job(SMALL + "analyses: [scopes, all]\n").analyses
    assert everything[:6] == scopes
    assert len({request.name for request in everything}) == len(everything) > 10


def test_an_analysis_asked_for_twice_with_other_parameters_is_a_mistake() -> None:
    text = SMALL + "analyses: [luma_waveform, {luma_waveform: {luma: bt601}}]\n"
    assert "asked for twice" in mistakes(text)[0]


def test_images_are_written_exactly_if_something_is_rendered_or_they_are_asked_for() -> None:
    assert parse_job(SMALL + "operations: [invert]\n").export.images is not None
    assert parse_job(SMALL + "operations: [invert]\nexport: {images: false}\n").export.images is None
    assert parse_job(SMALL + "export: {images: {format: png}}\n").export.images is not None
    assert parse_job(SMALL + "export: {data: [csv]}\n").export.images is None


@pytest.mark.parametrize("pattern", ["../{stem}", "/{stem}", "fixed", "{stem}{artist}", "{stem!r}", "{index:>1000}"])
def test_a_name_pattern_that_leaves_the_output_or_tells_nothing_apart_is_a_mistake(pattern: str) -> None:
    text = SMALL + f"export:\n  images: {{name: '{pattern}'}}\n"
    assert "job.yaml:5:12: export.images.name:" in mistakes(text)[0]


def test_a_look_that_is_not_there_is_a_mistake_and_one_that_is_becomes_absolute(tmp_path: Path) -> None:
    text = SMALL + "operations:\n  - lut3d: {path: look.cube}\n"
    with pytest.raises(JobFileError, match=r"look\.cube is no file"):
        parse_job(text, base=tmp_path)
    (tmp_path / "look.cube").write_text("LUT_1D_SIZE 2\n0 0 0\n1 1 1\n")
    assert parse_job(text, base=tmp_path).operations[0].params["path"] == str(tmp_path / "look.cube")


def test_files_that_cannot_be_job_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"missing\.yaml: No such file"):
        load_job(tmp_path / "missing.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(JobError, match="not UTF-8"):
        load_job(binary)
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * 1_000_001)
    with pytest.raises(JobError, match="larger than"):
        load_job(large)


def test_a_stored_job_is_the_same_job() -> None:
    text = SMALL + "operations: [{gamma: {gamma: 2}}]\nanalyses: [scopes, statistics]\nmax_failures: 5%\n"
    spec = parse_job(text)
    again = parse_job(json.dumps(spec.model_dump(mode="json")))
    assert again == spec


def test_the_schema_for_editors_knows_every_operation_and_refuses_what_we_refuse() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = job_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    good = {"name": "a", "inputs": ["x"], "output": "o", "operations": [{"gamma": {"gamma": 2}}, "invert"]}
    assert check.is_valid(good)
    assert check.is_valid({**good, "export": {"charts": True, "images": False}, "limits": {"item_timeout": "2min"}})
    assert not check.is_valid({**good, "operations": [{"gama": {}}]})
    assert not check.is_valid({**good, "operations": [{"gamma": {"gama": 2}}]})
    assert not check.is_valid({**good, "colour": 1})


def test_steps_keep_their_parameters_in_the_registered_order() -> None:
    spec = parse_job(SMALL + "operations: [invert]\nanalyses: [sharpness]\n")
    assert spec.operations == (ImageOperation("invert"),)
    assert spec.analyses == (AnalysisRequest("sharpness", spec.analyses[0].params),)


@settings(max_examples=60)
@given(st.text(max_size=200))
def test_no_text_without_the_required_keys_gets_past(text: str) -> None:
    with pytest.raises(JobFileError, match=r"^job:\d+:\d+: "):
        parse_job(text)


def test_what_a_job_requires_are_positive_amounts_of_anything_but_what_every_image_has() -> None:
    assert parse_job(f"{SMALL}requires: {{licence: 1, gpu: 0.5}}\n").requires == {"licence": 1, "gpu": 0.5}
    assert mistakes(f"{SMALL}requires: {{licence: 0, seat: many}}\n") == [
        "job.yaml:4:12: requires.licence: input should be greater than 0, not 0",
        "job.yaml:4:24: requires.seat: input should be a valid number, not 'many'",
    ]
    for name in ("cpu", "memory", "disk"):
        (line,) = mistakes(f"{SMALL}requires: {{{name}: 1}}\n")
        assert f"requires: {name} isn't asked for here: " in line


def test_placeholders_of_tasks_are_filled_in_and_decide_what_counts_as_the_same_task() -> None:
    text = 'tasks:\n  - export: {input: "{base}/a.png", output: "{output}/{job}", analyses: [{statistics: {}}]}\n'
    spec = parse_job(SMALL + text)
    (task,) = planned_tasks(spec, Path("/jobs"), Path("/jobs/out"))
    assert task.task_type == "export"
    assert task.config == {"input": "/jobs/a.png", "output": "/jobs/out/a", "analyses": [{"statistics": {}}]}
    (again,) = planned_tasks(spec, Path("/jobs"), Path("/jobs/out"))
    (elsewhere,) = planned_tasks(spec, Path("/jobs"), Path("/other"))
    assert again.digest == task.digest != elsewhere.digest


def test_a_submitted_job_means_the_same_in_another_directory(tmp_path: Path) -> None:
    text = 'requires: {licence: 1}\ntasks:\n  - export: {input: "{base}/a.png", output: "{output}/{job}"}\n'
    request = request_of(parse_job(SMALL + text, base=tmp_path), tmp_path, None)
    there = parse_job(json.dumps(resolved_job(request)), base=Path("/elsewhere"))
    assert there.inputs == [f"{tmp_path}/photos/"]
    assert there.requires == {"licence": 1}
    (task,) = planned_tasks(there, Path("/elsewhere"), Path(there.output))
    assert task == planned_tasks(request.spec, tmp_path, request.output)[0]
    assert task.config["input"] == f"{tmp_path}/a.png"
