"""Jobs and their pool without Ray: what is remembered, by whom, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from actors.ledger.output_lock import OutputLock
from pipelines.errors import JobError, RayjobsError
from pipelines.export_models import ExportConfig
from rayjobs.job.job_state import JobStatus
from rayjobs.managers.batch_job import EnhancedBatchJob
from rayjobs.managers.batch_job_manager import BatchJobManager
from rayjobs.managers.enhanced_job_manager import EnhancedJobManager
from tests.runs import write_job, write_photographs


def test_jobs_survive_their_manager(tmp_path: Path) -> None:
    with BatchJobManager(tmp_path / "home") as manager:
        job = manager.create_job("kept", ["a.jpg"], ["invert"], output=tmp_path / "out", priority="high")
    with BatchJobManager(tmp_path / "home") as manager:
        assert manager.list_jobs() == [job]
        assert job.options == {"priority": "high"}
        assert job.status is JobStatus.PENDING


def test_changes_from_many_threads_and_managers_are_all_kept(tmp_path: Path) -> None:
    with BatchJobManager(tmp_path / "home") as one, BatchJobManager(tmp_path / "home") as other:
        job = one.create_job("pool", output=tmp_path / "out")
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda n: (one, other)[n % 2].add_images(job.job_id, [f"{n}.jpg"]), range(32)))
        assert len(one.get_job(job.job_id).source_paths) == 32


def test_the_plain_manager_leaves_what_the_enhanced_one_keeps(tmp_path: Path) -> None:
    with EnhancedJobManager(tmp_path / "home") as enhanced:
        job = enhanced.create_job("both", output=tmp_path / "out")
        enhanced.set_extension_data(job.job_id, {"ticket": 7})
    with BatchJobManager(tmp_path / "home") as plain:
        plain.add_images(job.job_id, ["a.jpg"])
    with EnhancedJobManager(tmp_path / "home") as enhanced:
        known = enhanced.get_job(job.job_id)
    assert isinstance(known, EnhancedBatchJob)
    assert known.extension_data == {"ticket": 7}
    assert known.source_paths == ["a.jpg"]


def test_a_job_file_becomes_a_job_of_the_same_meaning(tmp_path: Path) -> None:
    write_photographs(tmp_path / "photos", 2)
    path = write_job(tmp_path)
    with EnhancedJobManager(tmp_path / "home") as manager:
        job = manager.create_job_from_file(path)
        assert job.output == str(tmp_path / "out")
        found = manager.get_job_with_processed_images(job.job_id, include_effects=True)
        images = sorted(found, key=lambda image: image.source)
        assert [image.source.name for image in images] == ["photo-0000.jpg", "photo-0001.jpg"]
        assert {image.status for image in images} == {"pending"}
        assert images[0].load().shape == (64, 96, 3)


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    with BatchJobManager(tmp_path / "home") as manager:
        with pytest.raises(JobError, match="unknown key"):
            manager.create_job("odd", output=tmp_path / "out", priorty="high")
        job = manager.create_job("empty", output=tmp_path / "out")
        with pytest.raises(JobError, match="has no images"):
            manager.start_job(job.job_id)
        with pytest.raises(JobError, match="isn't in the pool"):
            manager.remove_images(job.job_id, ["a.jpg"])
        with pytest.raises(JobError, match="'status' can't be changed"):
            manager.update_job(job.job_id, status="completed")
        with pytest.raises(JobError, match="not started yet"):
            manager.wait_for_job(job.job_id)
        with pytest.raises(JobError, match="no job 'nobody'"):
            manager.get_job("nobody")
        assert not manager.cancel_job(job.job_id)
    assert not (tmp_path / "out").exists()


PAIRS = [["max_side", 5]]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"operations": [{"resize": "wide"}]}, r"operations\[0\].resize: parameters are written as a mapping"),
        ({"operations": [{"resize": PAIRS}]}, r"operations\[0\].resize: parameters are written as a mapping"),
        ({"operations": [PAIRS]}, r"operations\[0\]: expected a name"),
        ({"operations": [5]}, r"operations\[0\]: expected a name"),
        ({"operations": 5}, "operations: give a list of them, which may be empty, not 5"),
        ({"analyses": [[["statistics", {}]]]}, r"analyses\[0\]: expected a name"),
        ({"analyses": None}, "analyses: give a list of them"),
        ({"export_config": "wide"}, "export: write its keys"),
        ({"export_config": [["images", False]]}, "export: write its keys"),
        ({"source_paths": 5}, "images: give a list of them"),
    ],
)
def test_what_is_no_list_or_mapping_is_told_by_its_field(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with EnhancedJobManager(tmp_path / "home") as manager:
        with pytest.raises(JobError, match=told):
            manager.create_job("odd", **changes, output=tmp_path / "out")
        job = manager.create_job("good", ["a.jpg"], output=tmp_path / "out")
        with pytest.raises(JobError, match=told):
            manager.update_job(job.job_id, **changes)
        assert manager.get_job(job.job_id) == job


def test_what_is_kept_or_given_with_a_job_is_a_mapping(tmp_path: Path) -> None:
    odd: Any = [["a", 5]]
    with EnhancedJobManager(tmp_path / "home") as manager:
        job = manager.create_job("odd", ["a.jpg"], output=tmp_path / "out")
        with pytest.raises(JobError, match=r"options: give keys of a job file and their values, not \[\['a', 5\]\]"):
            manager.update_job(job.job_id, options=odd)
        with pytest.raises(JobError, match=r"extension data of .*: give keys and their values"):
            manager.set_extension_data(job.job_id, odd)
        with pytest.raises(JobError, match=r"extension data of .*: isn't plain values"):
            manager.set_extension_data(job.job_id, {"a": object()})
        with pytest.raises(RayjobsError, match="config of the render task: give keys and their values"):
            manager.create_extensible_task(job.job_id, "render", odd)
        with pytest.raises(RayjobsError, match=r"export\.charts: "):
            manager.create_analysis_export_task(job.job_id, ExportConfig(charts=odd))
        assert manager.get_job(job.job_id) == job
    odd = 5
    with pytest.raises(RayjobsError, match="analyses of an export: give a list, not 5"):
        ExportConfig(analyses=odd)


def test_one_may_stand_where_a_list_may_be(tmp_path: Path) -> None:
    with BatchJobManager(tmp_path / "home") as manager:
        look: Any = {"resize": {"max_side": 5}}
        job = manager.create_job("one", "a.jpg", look, analyses="scopes", output=tmp_path / "out")
        assert (job.source_paths, job.operations, job.analyses) == (["a.jpg"], [look], ["scopes"])
        assert manager.update_job(job.job_id, operations="invert").operations == ["invert"]
        assert manager.add_images(job.job_id, "b.jpg").source_paths == ["a.jpg", "b.jpg"]
        assert manager.remove_images(job.job_id, "a.jpg").source_paths == ["b.jpg"]


def test_a_manager_of_jobs_that_wait_needs_no_ray() -> None:
    code = "import sys; sys.modules['ray'] = None; from rayjobs import BatchProcessingHandler, EnhancedJobManager"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_damaged_list_of_jobs_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "batch.sqlite").write_bytes(b"no database " * 500)
    with BatchJobManager(tmp_path) as manager, pytest.raises(JobError, match=r"is damaged .* move it away"):
        manager.list_jobs()


def test_an_output_is_one_however_it_is_spelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with EnhancedJobManager(tmp_path / "home") as manager:
        job = manager.create_job("one", ["a.jpg"], output="real/out", analyses=["statistics"])
        for spelled in ("link/out", "real/../real/out/", "~/real/out", tmp_path / "link/out"):
            with pytest.raises(JobError, match=r"there is a job .* already"):
                manager.create_job("one", output=spelled)
        manager.create_job("one", output="real/out/inside")
        for spelled in ("link/out", str(tmp_path / "real/out/."), "~/link/out"):
            with pytest.raises(JobError, match="is the output of the job itself; choose another"):
                manager.create_analysis_export_task(job.job_id, ExportConfig(output=spelled))
        assert manager.get_job(job.job_id).export_tasks == {}


def test_a_job_that_another_process_runs_is_not_started_again(tmp_path: Path) -> None:
    with BatchJobManager(tmp_path / "home") as manager:
        job = manager.create_job("busy", ["a.jpg"], output=tmp_path / "out", analyses=["statistics"])
        lock = OutputLock(tmp_path / "out/.rayjobs/lock")
        manager.start_job(job.job_id)
        assert manager._pool.find(job.job_id) is None
        lock.release()
