"""Job files: every mistake at once, with its place and what to do; nothing in them is code."""

from __future__ import annotations

import json
import os
import tracemalloc
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.analyses import ANALYSES
from pipelines.errors import JobError
from pipelines.models import AnalysisRequest, ImageOperation
from pipelines.operations import OPERATIONS
from rayjobs.command_line.ray_submit import resolved_job
from rayjobs.inputs.discovery import Discovery
from rayjobs.job.job_check import JobFileError, check_job
from rayjobs.job.job_file import load_job, parse_job
from rayjobs.job.job_spec import job_schema
from rayjobs.job.job_tasks import planned_tasks
from rayjobs.job.mistakes import EVERYDAY_NAMES
from rayjobs.job.yaml_data import compose, construct, is_text
from rayjobs.run.run_request import request_of
from tests.places import picture

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
        """name: two/words
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
        ("a: [1, 2\n", "job.yaml:1:4: what is opened here isn't closed: a ] is missing"),
        ("a: " + "[" * 40 + "]" * 40, "nested deeper than"),
        ("a: 1\nb: \x1f\n", "job.yaml:2:4: a character that no text has: U+001F"),
        ("? [1, 2]\n: 3\n", "keys are words"),
        ("a: 1\n<<: {b: 2}\n", "job.yaml:2:1: merging (<<) is not allowed"),
    ],
)
def test_yaml_that_is_more_than_data_or_less_than_yaml_is_refused(text: str, message: str) -> None:
    assert message in mistakes(text)[0]


def read(plain: str) -> Any:
    """What a scalar without quotes means."""
    data, misread = construct(compose(f"a: {plain}\n"))
    assert misread == {}
    return data["a"]


def is_same(found: object, expected: object) -> bool:
    """Whether values are the same, with their types: 1, 1.0 and True aren't."""
    return repr(found) == repr(expected)


@pytest.mark.parametrize(
    ("plain", "value"),
    [
        ("030", 30),
        ("08", 8),
        ("-007", -7),
        ("+5", 5),
        ("1_000", 1000),
        ("00.5", 0.5),
        ("1e3", 1000.0),
        ("1E-3", 0.001),
        ("1e-05", 1e-05),
        ("1E+16", 1e16),
        (".5", 0.5),
        ("-.5", -0.5),
        ("5.", 5.0),
        ("5.e1", 50.0),
        ("-0.0", -0.0),
        ("1_000.5", 1000.5),
        ("0x1F", 31),
        ("-0x1F", -31),
        ("0o17", 15),
        ("0b101", 5),
        ("0xdead_beef", 0xDEADBEEF),
        ("yes", True),
        ("Off", False),
        ("~", None),
        ("", None),
    ],
)
def test_a_number_or_word_is_what_was_typed(plain: str, value: object) -> None:
    assert is_same(read(plain), value)
    assert not is_text(plain)


_DATES = ("2026-11-26", "2026-11-26T10:00:00Z", "2026-11", "01:30", "16:90")
_NEARLY_NUMBERS = ("1_", "_1", "1__0", "0o8", "0b2", "0xg", "1e", "e3", ".", "1.2.3", "+", "1st", "1:2:x", "\u0663")
_NEARLY_WORDS = ("y", "N", "oN", "nUll", "=", "<<", "Infinity", "NaN")


@pytest.mark.parametrize("plain", [*_DATES, *_NEARLY_NUMBERS, *_NEARLY_WORDS])
def test_what_is_no_number_is_the_text_that_was_typed(plain: str) -> None:
    assert read(plain) == plain
    assert is_text(plain)


@pytest.mark.parametrize("plain", ["16:9", "1:30", "190:20:30", "190:20:30.15", "-1:30", "0:30.5"])
def test_base_60_is_refused_where_it_stands(plain: str) -> None:
    (line,) = mistakes(f"{SMALL}operations:\n  - crop: {{x: 0, y: 0, height: 1, width: {plain}}}\n")
    text = f"{plain} reads as a number in base 60; put it in quotes, or write a decimal number"
    assert line == f"job.yaml:5:35: operations[0].crop.width: {text}"
    assert not is_text(plain)


@pytest.mark.parametrize("plain", [".inf", "-.INF", "+.Inf", ".nan", ".NaN"])
def test_what_is_no_finite_number_is_refused_even_where_anything_may_stand(plain: str) -> None:
    line = mistakes(f"{SMALL}tasks:\n  - export: {{input: [{plain}]}}\n")[-1]
    assert line.startswith(f"job.yaml:5:22: tasks[0].export.input[0]: {plain} is no finite number; put it in quotes")


@pytest.mark.parametrize("plain", ["9" * 10_000, "-" + "1" * 400, "1e999", "-1e400", "0x" + "f" * 300])
@pytest.mark.parametrize("key", ["item_timeout", "max_pixels", "attempts", "workers"])
def test_a_number_beyond_all_bounds_is_one_mistake(plain: str, key: str) -> None:
    (line,) = mistakes(f"{SMALL}limits:\n  {key}: {plain}\n")
    expected = "a number of 10,000 characters; the longest" if len(plain) > 1000 else "is too large for a number"
    assert line.startswith(f"job.yaml:5:3: limits.{key}: ")
    assert expected in line
    assert len(line) < 160


def test_values_that_can_not_be_read_are_told_along_with_all_other_mistakes() -> None:
    lines = mistakes("name: 1:30\ninputs: [16:9, b]\noperations: [gama, 1:1, {gamma: .nan}]\noutput: 1e999\n")
    assert [line.split(": ")[:2] for line in lines] == [
        ["job.yaml:1:1", "name"],
        ["job.yaml:2:10", "inputs[0]"],
        ["job.yaml:3:14", "operations[0]"],
        ["job.yaml:3:20", "operations[1]"],
        ["job.yaml:3:26", "operations[2].gamma"],
        ["job.yaml:4:1", "output"],
    ]


@pytest.mark.parametrize("name", ["autumn look", "2026", "007", "1e3", "3.10"])
def test_a_name_is_what_was_typed(name: str) -> None:
    assert parse_job(f"name: {name}\ninputs: [b]\noutput: c\n").name == name


def test_folders_may_be_numbers() -> None:
    spec = parse_job("name: 2026\ninputs: [2025, 007/]\noutput: 2026\nanalyses: all\n")
    assert (spec.name, spec.inputs, spec.output) == ("2026", ["2025", "007/"], "2026")
    assert parse_job("name: a\ninputs: 2025\noutput: b\n").inputs == ["2025"]


def test_everyday_words_and_one_value_for_a_list() -> None:
    spec = parse_job(
        "name: a\ninputs: photos\nexclude: '*.tmp'\noutput: c\n"
        "export: {images: {format: JPG}, data: excel, charts: {format: jpg}}\n"
    )
    assert spec.inputs == ["photos"]
    assert spec.exclude == ["*.tmp"]
    assert spec.export.images is not None
    assert spec.export.charts is not None
    assert (spec.export.images.format, spec.export.charts.format) == ("jpeg", "jpeg")
    assert spec.export.data == ["xlsx"]
    images = parse_job("name: a\ninputs: b\noutput: c\nexport: {images: {format: tif}}\n").export.images
    assert images is not None
    assert images.format == "tiff"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("inputs: *.jpg", '2:10: a value that begins with * is put in quotes: "*.jpg"'),
        ("inputs: [@list.txt]", '2:10: a value that begins with @ is put in quotes: "@list.txt"'),
        ("inputs: [a, `b` ]", '2:13: a value that begins with ` is put in quotes: "`b`"'),
        ("\tinputs: a", "2:1: a tab; YAML is indented with spaces"),
        ("output: out: x", "2:12: a colon and a space within a value: put the value in quotes"),
    ],
)
def test_what_yaml_keeps_for_itself_is_told_in_plain_words(line: str, message: str) -> None:
    assert mistakes(f"name: a\n{line}\n") == [f"job.yaml:{message}"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("export: {images: {quality: 0}}", "export.images.quality: give 1 to 100, not 0"),
        ("export: {images: {format: jpgg}}", "format: give jpeg, png, tiff, webp, avif or original, not 'jpgg'"),
        ("export: {images: {layout: miror}}", "give mirror, flat or beside, not 'miror'; did you mean 'mirror'?"),
        ("operations: [{gaussian: {sigma: -1}}]", "sigma: give more than 0, at most 200, not -1"),
        ("operations: [{rotate: {angle: left}}]", "rotate.angle: give a number, -360 to 360, not 'left'"),
        ("operations: [{resize: {width: 9px}}]", "resize.width: give a whole number, 1 to 65535, not '9px'"),
        ("export: {images: jpg}", "export.images: write its keys: format, quality,"),
        (
            "operations:\n  - gaussian:\n    sigma: 2",
            "'sigma' stands beside 'gaussian', not below it: indent it further",
        ),
        ("operations: {invert: {}, gaussian: {}}", "'invert' and 'gaussian' stand in one step: begin each with a dash"),
        ("operations: [blur]", "unknown operation 'blur'; 'gaussian' does that"),
        ("analyses: [waveform]", "unknown analysis 'waveform'; 'luma_waveform' does that"),
    ],
)
def test_a_mistake_says_what_may_stand_there(lines: str, message: str) -> None:
    (found,) = mistakes(f"{SMALL}{lines}\n")
    assert message in found


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ("on", "expected text, which yes, on and true aren't without quotes; put it in quotes"),
        ("no", "expected text, which no, off and false aren't without quotes; put it in quotes"),
        ("", "expected text, and nothing stands here"),
    ],
)
def test_what_is_no_text_is_told_to_be_quoted(plain: str, message: str) -> None:
    assert mistakes(f"name: {plain}\ninputs: [b]\noutput: c\n") == [f"job.yaml:1:1: name: {message}"]
    if plain:
        assert parse_job(f"name: '{plain}'\ninputs: [b]\noutput: c\n").name == plain


def test_keys_are_the_text_that_was_typed() -> None:
    data, _ = construct(compose("x: {030: 1, on: 2, 1:30: 3, ~: 4}\n"))
    assert data == {"x": {"030": 1, "on": 2, "1:30": 3, "~": 4}}
    assert mistakes(f"{SMALL}on: 1\n")[0].startswith("job.yaml:4:1: on: unknown key")


@given(st.integers(-(10**200), 10**200), st.integers(0, 50))
def test_a_whole_number_with_any_zeros_before_it_reads_as_itself(number: int, zeros: int) -> None:
    sign = "-" if number < 0 else ""
    assert is_same(read(f"{sign}{'0' * zeros}{abs(number)}"), number)


@given(st.from_regex(r"[-+]?(\.[0-9]{1,30}|[0-9]{1,30}(\.[0-9]{0,30}|[eE]))([eE][-+]?[0-9]{1,2})?", fullmatch=True))
def test_a_decimal_float_reads_as_python_reads_it(text: str) -> None:
    try:
        expected: object = float(text)
    except ValueError:
        expected = text
    assert is_same(read(text), expected)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_reads_as_itself(number: float) -> None:
    assert is_same(read(repr(number)), number)


_CHARACTERS = st.characters() | st.characters(categories=["Cs", "Cc"])
_TEXT = st.text(_CHARACTERS, max_size=60) | st.sampled_from(["030", "1e3", "on", "~", "16:9"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(_TEXT, children, max_size=4),
    max_leaves=12,
)


@given(_JSON, st.sampled_from([None, 2]))
@example("030", None)
@example({"<<": "16:9", "on": [1e-05, 1e16, "no", "1e3"], "\U0001f600": "\udcff \U0001f600"}, None)
def test_what_was_stored_as_json_is_read_exactly(value: object, indent: int | None) -> None:
    data, misread = construct(compose(json.dumps(value, indent=indent)))
    assert is_same(data, value)
    assert misread == {}


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


def test_parameters_of_a_word_for_several_analyses_are_a_mistake_where_they_stand() -> None:
    said = mistakes(SMALL + "analyses: [{scopes: {luma: bt601}}, {all: {}}]\n")
    assert len(said) == 1
    assert "analyses[0].scopes: scopes stands for several analyses: give parameters to each by its own name" in said[0]


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


LOOK = "LUT_1D_SIZE 2\n0 0 0\n1 1 1\n"


def test_the_path_of_a_look_becomes_absolute(tmp_path: Path) -> None:
    (tmp_path / "look.cube").write_text(LOOK)
    text = SMALL + "operations:\n  - lut3d: {path: look.cube}\n"
    spec = parse_job(text, base=tmp_path)
    assert spec.operations[0].params["path"] == str(tmp_path / "look.cube")
    assert parse_job(json.dumps(spec.model_dump(mode="json")), base=Path("/elsewhere")) == spec


def test_the_path_of_a_look_may_begin_with_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    (tmp_path / "me/looks").mkdir(parents=True)
    (tmp_path / "me/looks/a.cube").write_text(LOOK)
    spec = parse_job(SMALL + "operations:\n  - lut3d: {path: ~/looks/a.cube}\n", base=tmp_path)
    assert spec.operations[0].params["path"] == str(tmp_path / "me/looks/a.cube")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("none.cube", "{here}/none.cube: No such file or directory"),
        ("dir.cube", "{here}/dir.cube: is a directory; give the path of a .cube file"),
        ("pipe.cube", "{here}/pipe.cube: is no file; give the path of a .cube file"),
        ("loop.cube", "{here}/loop.cube: Too many levels of symbolic links"),
        ("large.cube", "{here}/large.cube: 100663297 bytes; a .cube file may have 100663296"),
        ("torn.cube", "{here}/torn.cube, line 3: expected 3 numbers, found '1 1'"),
        ("wide.cube", "{here}/wide.cube: is UTF-16 text; save it as UTF-8"),
        ("''", "string should have at least 1 character, not ''"),
        ('"a\\0b"', ".cube file: 'a\\x00b' can't be the name of a file: there is a NUL in it"),
        ("s3://looks/a.cube", ".cube file: 's3://looks/a.cube': object stores are not supported yet"),
    ],
)
def test_a_look_that_can_not_be_used_is_a_mistake_where_it_stands(path: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "dir.cube").mkdir()
    os.mkfifo(tmp_path / "pipe.cube")
    (tmp_path / "loop.cube").symlink_to("loop.cube")
    (tmp_path / "torn.cube").write_text("LUT_1D_SIZE 2\n0 0 0\n1 1\n")
    (tmp_path / "wide.cube").write_text(LOOK, encoding="utf-16")
    with (tmp_path / "large.cube").open("wb") as file:
        file.truncate(100_663_297)
    text = f"{SMALL}operations:\n  - lut3d: {{path: {path}}}\nanalyses: [statistic]\n"
    with pytest.raises(JobFileError) as caught:
        parse_job(text, base=tmp_path)
    (look, other) = str(caught.value).splitlines()
    assert look.startswith(f"job:5:13: operations[0].lut3d.path: {message.format(here=tmp_path)}")
    assert other.startswith("job:6:12: analyses[0]: unknown analysis 'statistic'")


class Priority(StrEnum):
    HIGH = "high"


def test_a_job_of_plain_values_is_the_job_of_its_text() -> None:
    values = {
        "name": "a",
        "inputs": tuple(f"in/{number}.jpg" for number in range(3)),
        "output": "out",
        "operations": [{"gamma": {"gamma": np.float64(2)}}],
        "priority": Priority.HIGH,
    }
    text = SMALL.replace("photos/", "in/0.jpg, in/1.jpg, in/2.jpg")
    assert check_job(values) == parse_job(text + "operations: [{gamma: {gamma: 2}}]\npriority: high\n")
    assert type(check_job(values).priority) is str


def test_a_stored_job_is_the_job_and_its_paths_are_never_made_a_text() -> None:
    count = 50_000
    paths = [f"/data/{number // 1000:03d}/image-{number:06d}.jpg" for number in range(count)]
    values = {"name": "a", "inputs": paths, "output": "out", "analyses": ["scopes"], "operations": ["invert"]}
    check_job({**values, "inputs": paths[:1]})  # imports what it needs
    tracemalloc.start()
    try:
        spec = check_job(values)
        again = check_job(spec.model_dump(mode="json"))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert again == spec
    assert peak_bytes < 100 * count  # some lists of references; a text or a parsed node per path is more


def test_every_value_that_is_not_plain_is_named_by_its_place() -> None:
    endless: dict[str, Any] = {}
    endless["read"] = endless
    values = {"name": "a", "inputs": ["b"], "output": Path("c"), "limits": {"attempts": float("nan"), 1: 2}, **endless}
    with pytest.raises(JobFileError) as caught:
        check_job(values, name="job a")
    said = str(caught.value).splitlines()
    for begin in (
        "job a: output: expected a plain value, not PosixPath('c')",
        "job a: limits.attempts: nan is no finite number",
        "job a: limits: keys are text, not 1",
        "job a: read: nested deeper than 20 levels",
    ):
        assert any(line.startswith(begin) for line in said)


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
    everyday = {"images": {"format": "jpg"}, "charts": {"format": "jpg"}, "data": "excel"}
    one_for_a_list = {"operations": "invert", "analyses": "all", "exclude": "*.tmp"}
    words = {**good, **one_for_a_list, "name": 2026, "inputs": 2025, "output": 2026, "export": everyday}
    assert parse_job(json.dumps(words)).operations == (ImageOperation("invert"),)
    check.validate(words)
    steps = [*schema["$defs"]["ImageOperation"]["anyOf"][1:], *schema["$defs"]["AnalysisRequest"]["anyOf"][1:]]
    parameters = [
        each for step in steps for (entry,) in [step["properties"].values()] for each in entry["properties"].values()
    ]
    assert all(each["description"] for each in parameters), "what editors show where one types"
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
        "job.yaml:4:12: requires.licence: give more than 0.0, not 0",
        "job.yaml:4:24: requires.seat: give a number, not 'many'",
    ]
    for name in ("cpu", "memory", "disk"):
        (line,) = mistakes(f"{SMALL}requires: {{{name}: 1}}\n")
        assert f"requires: {name} isn't asked for here: " in line
        (line,) = mistakes(f"{SMALL}requires: {{render: {{{name}: 1}}}}\n")
        assert f"requires: {name} isn't asked for here: " in line
    in_stages = parse_job(f"{SMALL}requires: {{render: {{gpu: 1}}, export: {{tape: 2}}, render_farm: 1}}\n")
    assert in_stages.requires == {"render": {"gpu": 1}, "export": {"tape": 2}, "render_farm": 1}
    assert parse_job(json.dumps(in_stages.model_dump(mode="json"))) == in_stages
    assert mistakes(f"{SMALL}requires: {{render: {{gpu: 0}}, rendering: {{gpu: 1}}}}\n") == [
        "job.yaml:4:21: requires.render.gpu: give more than 0.0, not 0"
    ]
    (line,) = mistakes(f"{SMALL}requires: {{rendering: {{gpu: 1}}}}\n")
    assert line.endswith("requires: rendering is no stage; there are render, analyze, export")


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


def test_a_submitted_job_reads_and_leaves_out_what_it_would_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "run [final]"
    for name in ("home/a.png", "run [final]/b.png", "run [final]/old/c.png", "run [final]/sub/old/d.png"):
        picture(tmp_path / name, 3)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    text = "name: a\ninputs: [~/, '**/*.png']\nexclude: [old/*.png]\nanalyses: [statistics]\noutput: out\n"
    asked = request_of(parse_job(text, base=here), here, None)
    sent = resolved_job(asked)
    monkeypatch.setenv("HOME", str(tmp_path / "another"))
    there = check_job(sent)
    found = Discovery(there.inputs, asked.base, there.exclude).inputs()
    assert {Path(os.fsdecode(each.path)).name for each in found if each.reason is None} == {"a.png", "b.png", "d.png"}


def test_everyday_names_stand_for_what_there_is() -> None:
    for name, meant in EVERYDAY_NAMES.items():
        assert name not in OPERATIONS
        assert name not in ANALYSES
        assert meant in OPERATIONS or meant in ANALYSES


@pytest.mark.parametrize(
    "step",
    ["resize: {width: true}", "gaussian: {sigma: on}", "curves: {points: [[0, yes], [1, 1]]}", "gamma: {gamma: [on]}"],
)
def test_a_switch_is_no_number(step: str) -> None:
    assert "number" in mistakes(f"{SMALL}operations:\n  - {step}\n")[-1]
