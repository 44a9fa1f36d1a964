"""A job that uses the example plug-in: its file is checked with it, and a worker's block computes with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml
from PIL import Image

from pipelines.charts import ChartOptions
from pipelines.extensions.extension_manager import process_extensions
from pipelines.image_io import EncodeOptions, ReadPolicy
from pipelines.models import AnalysisRequest, ImageOperation, ImageStatus, WorkItem
from pipelines.stages.block_task import Workspace, render_analyze_export
from pipelines.stages.recipe import Recipe
from rayjobs.command_line.cli import main
from rayjobs.job.job_check import JobFileError
from rayjobs.job.job_file import parse_job
from rayjobs.job.product_keys import wanted_products
from tests.example_plugin import install_example
from tests.workspaces import prepared

JOB = """
name: shaded
inputs: [photos]
plugins: [vignette]
operations:
  - vignette: {strength: 0.4}
analyses: [vignette]
export: {images: {format: png}, charts: true}
output: out
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_example(tmp_path_factory.mktemp("example"))


@pytest.fixture(autouse=True)
def on_the_path(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(installed)
    process_extensions.cache_clear()
    yield
    process_extensions().close()
    process_extensions.cache_clear()


def allow() -> None:
    process_extensions().allow(["vignette"])


def test_the_schema_for_editors_knows_a_plug_in_that_is_allowed(tmp_path: Path) -> None:
    job = yaml.safe_load(JOB)
    for words, known in (([], False), (["--allow-plugin", "vignette"], True)):
        file = tmp_path / f"job-{known}.yaml"
        assert main(["init", str(file), "--schema", *words]) == 0
        schema = json.loads(file.with_suffix(".schema.json").read_text())
        assert jsonschema.Draft202012Validator(schema).is_valid(job) is known


def test_a_job_file_can_not_allow_its_plug_ins_itself() -> None:
    with pytest.raises(JobFileError) as caught:
        parse_job(JOB)
    (line,) = str(caught.value).splitlines()
    assert line.startswith("job:4:11: plugins[0]: plug-in 'vignette' (rayjobs-vignette 1.0.0) isn't allowed")
    assert "add `--allow-plugin vignette` to the command" in line


def test_an_allowed_plug_in_is_checked_like_anything_else() -> None:
    allow()
    spec = parse_job(JOB)
    assert spec.operations == (ImageOperation("vignette", {"strength": 0.4}),)
    assert spec.analyses == (AnalysisRequest("vignette", {"floor": 0.0}),)
    with pytest.raises(JobFileError, match=r"vignette.force: unknown key; known: strength"):
        parse_job(JOB.replace("strength", "force"))


def test_a_job_names_every_plug_in_that_it_uses() -> None:
    without = JOB.replace("plugins: [vignette]\n", "")
    named = r"the plug-in of that name \(rayjobs-vignette\) has it: add `plugins: \[vignette\]` to the job file"
    with pytest.raises(JobFileError, match=f"{named}, and `--allow-plugin vignette` to the command"):
        parse_job(without)
    allow()
    with pytest.raises(JobFileError, match=rf"{named} \("):
        parse_job(without)
    parse_job(JOB)  # loads it, which changes nothing for the other job
    with pytest.raises(JobFileError, match=r"plugins: 'vignette' comes from a plug-in: name it here"):
        parse_job(without)


def test_the_plug_ins_version_decides_what_is_computed_anew() -> None:
    allow()
    spec = parse_job(JOB)
    versions = process_extensions().versions(spec.plugins)
    assert sorted(versions) == ["vignette"]
    before = wanted_products(spec, versions)
    assert wanted_products(spec, versions) == before
    after = wanted_products(spec, {**versions, "vignette": "rayjobs-vignette 1.0.1"})
    assert not set(before.values()) & set(after.values())


def block(tmp_path: Path, versions: dict[str, str], *operations: ImageOperation) -> ImageStatus:
    Image.fromarray(np.full((20, 20), 200, np.uint8)).save(tmp_path / "a.png")
    status = (tmp_path / "a.png").stat()
    recipe = Recipe(
        id=1,
        operations=operations,
        read=ReadPolicy(),
        image=EncodeOptions(format="png"),
        image_suffixes=(".png",),
        analyses=(AnalysisRequest("vignette"),),
        charts=ChartOptions(),
        charted=("vignette",),
    )
    item = WorkItem(
        id=1,
        path=bytes(tmp_path / "a.png"),
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        name="a",
        title="a",
        recipe=1,
    )
    workspace = prepared(Workspace(root=tmp_path / "out", epoch=1, stop=tmp_path / "stop", extensions=versions))
    ((row,),) = [rows for rows in render_analyze_export([item], {1: recipe}, workspace) if rows]
    return row


def test_a_worker_renders_analyses_and_draws_with_them(tmp_path: Path) -> None:
    allow()
    assert process_extensions().load(["vignette"]) == {}
    versions = process_extensions().versions()
    process_extensions().close()  # as in a fresh worker, which nobody told what is allowed
    row = block(tmp_path, versions, ImageOperation("vignette", {"strength": 1}))
    assert (row.status, row.message) == ("done", None)
    pixels = np.asarray(Image.open(tmp_path / "out/images/a.png"))
    assert pixels[0, 0] == round(200 * (1 - (19 / 20) ** 2))
    assert (tmp_path / "out/charts/vignette/a.png").read_bytes().startswith(b"\x89PNG")


def test_what_a_plug_in_raises_fails_the_image_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allow()
    assert process_extensions().load(["vignette"]) == {}
    monkeypatch.setattr("rayjobs_vignette.operation.np", None)
    row = block(tmp_path, process_extensions().versions(), ImageOperation("vignette"))
    assert (row.status, row.reason) == ("failed", "plugin_error")
    assert "plug-in 'vignette' (rayjobs-vignette 1.0.0): AttributeError" in str(row.message)


@pytest.mark.parametrize("operations", [[ImageOperation("vignette")], []], ids=["operation", "analysis alone"])
def test_a_worker_of_another_version_fails_its_images_and_says_why(
    tmp_path: Path, operations: list[ImageOperation]
) -> None:
    old = "rayjobs-vignette 0.9"
    row = block(tmp_path, {"vignette": old}, *operations)
    assert (row.status, row.reason) == ("failed", "plugin_error")
    assert f"planned was {old}; install the same version everywhere" in str(row.message)


def test_a_chart_that_a_plug_in_can_not_draw_fails_the_image_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow()
    assert process_extensions().load(["vignette"]) == {}
    monkeypatch.setattr("rayjobs_vignette.analysis.Tick", None)
    row = block(tmp_path, process_extensions().versions())
    assert (row.status, row.reason) == ("failed", "plugin_error")
    assert "chart of vignette: plug-in 'vignette' (rayjobs-vignette 1.0.0): TypeError" in str(row.message)
    assert not (tmp_path / "out/images/a.png").exists()
