"""The author's own tests: the contracts by the bench, the meaning by known values."""

from __future__ import annotations

import zipfile
from pathlib import Path

from rayjobs_services.licence import LicencePool
from rayjobs_services.zip_folder import ZipFolder

from rayjobs.plugins import ExtensibleTask, TaskStatus
from rayjobs.testing import check_resource_provider, check_task_handler


def test_contracts(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("a")
    config = {"folder": str(tmp_path / "folder"), "archive": str(tmp_path / "out.zip")}
    check_resource_provider(LicencePool(3))
    assert check_task_handler(ZipFolder(), {"zip_folder": config})["zip_folder"]["files"] == 1


def test_zip_folder_archives_and_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("b")
    archive = tmp_path.parent / f"{tmp_path.name}.zip"
    task = ExtensibleTask("t", "j", "zip_folder", {"folder": str(tmp_path), "archive": str(archive)})
    assert ZipFolder().handle_task(task).status is TaskStatus.COMPLETED
    assert zipfile.ZipFile(archive).read("b.txt") == b"b"
    nothing = ExtensibleTask("t", "j", "zip_folder", {"folder": str(tmp_path / "none"), "archive": str(archive)})
    assert "no files" in str(ZipFolder().handle_task(nothing).error)
    assert "'archive'" in str(ZipFolder().handle_task(ExtensibleTask("t", "j", "zip_folder", {"folder": "x"})).error)
