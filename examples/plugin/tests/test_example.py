"""The author's own tests: the contracts by the bench, the meaning by known values."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from rayjobs_example.evenness import EVENNESS, evenness, evenness_chart
from rayjobs_example.licence import LicencePool
from rayjobs_example.vignette import Vignette
from rayjobs_example.zip_folder import ZipFolder

from pipelines.charts import ChartOptions, draw_chart
from pipelines.models import ImageOperation
from pipelines.operations import apply_operations
from rayjobs.plugins import ExtensibleTask, FailedReason, Image, ImageError, TaskStatus
from rayjobs.testing import (
    check_analysis,
    check_processor,
    check_resource_provider,
    check_task_handler,
    temporary_extension,
)


def test_contracts(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("a")
    config = {"folder": str(tmp_path / "folder"), "archive": str(tmp_path / "out.zip")}
    check_processor(Vignette(), [{}, {"strength": 0}, {"strength": 1}])
    check_analysis(EVENNESS, [{}, {"floor": 0.5}])
    check_resource_provider(LicencePool(3))
    assert check_task_handler(ZipFolder(), {"zip_folder": config})["zip_folder"]["files"] == 1


def test_vignette_keeps_the_centre_and_darkens_the_corners(any_image: Image) -> None:
    with temporary_extension(Vignette) as name:
        done = apply_operations(any_image, [ImageOperation(name, {"strength": 0})]).pixels
        np.testing.assert_array_equal(done, any_image)
        done = apply_operations(np.full((101, 101), 200, np.uint8), [ImageOperation(name, {"strength": 1})]).pixels
    assert done[50, 50] == 200
    assert done[0, 0] == round(200 * (1 - (100 / 101) ** 2))


def test_a_wrong_strength_fails_the_image_alone() -> None:
    with (
        temporary_extension(Vignette) as name,
        pytest.raises(ImageError, match=r"strength is a number in 0..1") as caught,
    ):
        apply_operations(np.zeros((3, 3), np.uint8), [ImageOperation(name, {"strength": "much"})])
    assert caught.value.reason is FailedReason.PLUGIN_ERROR


def test_evenness_of_flat_light_is_one() -> None:
    result = evenness(np.full((64, 64, 3), 128, np.uint8))
    assert result["corner_ratio"] == pytest.approx(1)
    np.testing.assert_allclose(result["rings"], 128 / 255)


def test_evenness_has_a_chart() -> None:
    result = evenness(np.full((64, 64), 0.25, np.float32))
    with temporary_extension(evenness_chart, name="evenness"):
        picture = draw_chart("evenness", result, title="flat", options=ChartOptions())
    assert picture.startswith(b"\x89PNG")


def test_zip_folder_archives_and_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("b")
    archive = tmp_path.parent / f"{tmp_path.name}.zip"
    task = ExtensibleTask("t", "j", "zip_folder", {"folder": str(tmp_path), "archive": str(archive)})
    assert ZipFolder().handle_task(task).status is TaskStatus.COMPLETED
    assert zipfile.ZipFile(archive).read("b.txt") == b"b"
    nothing = ExtensibleTask("t", "j", "zip_folder", {"folder": str(tmp_path / "none"), "archive": str(archive)})
    assert "no files" in str(ZipFolder().handle_task(nothing).error)
    assert "'archive'" in str(ZipFolder().handle_task(ExtensibleTask("t", "j", "zip_folder", {"folder": "x"})).error)
