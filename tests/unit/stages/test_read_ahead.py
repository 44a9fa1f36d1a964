"""Reading ahead: the same rows and files, each error and hang with its own input, and the next file read meanwhile."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipelines.analyses import ANALYSES
from pipelines.analyses.registry import Analysis, Column
from pipelines.errors import ImageError
from pipelines.image_io import EncodeOptions, ReadPolicy, read_bytes
from pipelines.models import AnalysisRequest, ImageStatus, WorkItem
from pipelines.registry import parameters_of
from pipelines.stages import image_stages, read_ahead, staged_task
from pipelines.stages.block_task import Workspace, render_analyze_export
from pipelines.stages.read_ahead import ReadAhead
from pipelines.stages.recipe import Recipe
from pipelines.stages.worker_journal import inputs_in_hand
from tests.workspaces import planned, prepared

ROOT = Path(__file__).resolve().parents[3]
WITHIN_S = 60
RECIPE = Recipe(
    id=1,
    read=ReadPolicy(frames="all"),
    image=EncodeOptions(format="png"),
    image_suffixes=(".png",),
    analyses=(AnalysisRequest("statistics"),),
)
Run = Callable[[list[WorkItem], Recipe, Workspace], list[ImageStatus]]
Event = tuple[str, int]


@dataclass
class Events:
    """What happened to which input, in order; and what is to happen then."""

    noted: list[Event] = field(default_factory=list)
    during: dict[Event, Callable[[], object]] = field(default_factory=dict)

    def note(self, what: str, number: int) -> None:
        self.noted.append((what, number))
        self.during.get((what, number), lambda: None)()

    def until(self, what: str, number: int) -> None:
        deadline = time.monotonic() + WITHIN_S
        while (what, number) not in self.noted:
            assert time.monotonic() < deadline, f"{number} was never {what}"
            time.sleep(0.001)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return prepared(Workspace(root=tmp_path / "out", epoch=1, stop=tmp_path / "stop"))


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    """A disk that takes a while for each file."""
    events = Events()

    def slowly(path: bytes, **expected: Any) -> bytes:
        number = int(Path(os.fsdecode(path)).stem)
        events.note("begun", number)
        time.sleep(4 * read_ahead.SLOW_S)
        data = read_bytes(path, **expected)
        events.note("read", number)
        return data

    monkeypatch.setattr(image_stages, "read_bytes", slowly)
    return events


@pytest.fixture
def watched(events: Events) -> Iterator[Recipe]:
    """A recipe with an analysis that notes which image it sees."""

    def watched(image: Any) -> Mapping[str, object]:
        events.note("measured", int(image.max()))
        return {"number": int(image.max())}

    columns = [Column("number", "int64", "1", "A number.")]
    undo = ANALYSES.register(
        "watched", Analysis("watched", "measurements", watched, parameters_of(watched), lambda: columns)
    )
    try:
        yield replace(RECIPE, analyses=(AnalysisRequest("watched"),))
    finally:
        undo()


def item(directory: Path, number: int) -> WorkItem:
    directory.mkdir(exist_ok=True)
    path = directory / f"{number}.png"
    Image.fromarray(np.full((12, 60), number, np.uint8)).save(path)
    return planned(path, number)


def fused(work: list[WorkItem], recipe: Recipe, workspace: Workspace) -> list[ImageStatus]:
    return [row for rows in render_analyze_export(work, {1: recipe}, workspace) for row in rows]


def staged(work: list[WorkItem], recipe: Recipe, workspace: Workspace) -> list[ImageStatus]:
    table = pa.table({"id": [one.id for one in work]})
    rendered = pa.concat_tables(staged_task.render(table, work, {1: recipe}, workspace))
    analyzed = pa.concat_tables(staged_task.analyze(rendered, work, {1: recipe}, workspace))
    return [row for rows in staged_task.export(analyzed, work, {1: recipe}, workspace) for row in rows]


def told(rows: list[ImageStatus]) -> list[tuple[object, ...]]:
    return [
        (row.id, row.status, row.reason, row.message, [(one.path, one.sha256) for one in row.outputs]) for row in rows
    ]


def test_the_next_file_is_read_while_an_image_is_measured_and_no_further_one(
    tmp_path: Path, workspace: Workspace, events: Events, watched: Recipe
) -> None:
    # each waits for the other: neither ends unless both go on at a time
    events.during["measured", 2] = lambda: events.until("begun", 3)
    events.during["begun", 3] = lambda: events.until("measured", 2)
    rows = fused([item(tmp_path, number) for number in range(5)], watched, workspace)
    assert [row.status for row in rows] == ["done"] * 5
    assert [number for what, number in events.noted if what == "begun"] == [0, 1, 2, 3, 4]
    for number in range(3):
        assert events.noted.index(("measured", number)) < events.noted.index(("begun", number + 2))


def test_a_staged_worker_reads_the_next_file_while_its_pixels_travel(
    tmp_path: Path, workspace: Workspace, events: Events
) -> None:
    work = [item(tmp_path, number) for number in range(3)]
    rendered = staged_task.render(pa.table({"id": [0, 1, 2]}), work, {1: RECIPE}, workspace)
    next(rendered)
    events.until("read", 1)
    assert len(list(rendered)) == 2
    assert [number for what, number in events.noted if what == "read"] == [0, 1, 2]


def test_files_are_read_ahead_for_a_while_after_a_slow_one(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, ahead = [0.0], []
    monkeypatch.setattr(read_ahead, "AFTER_SLOW", 2)
    monkeypatch.setattr(read_ahead, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    work = [item(tmp_path, number) for number in range(8)]

    def noted(path: bytes, **expected: Any) -> bytes:
        ahead.append(threading.current_thread() is not threading.main_thread())
        now[0] += (path == work[2].path) * 2 * read_ahead.SLOW_S
        return read_bytes(path, **expected)

    monkeypatch.setattr(image_stages, "read_bytes", noted)
    fused(work, RECIPE, workspace)
    assert ahead == [False, False, False, True, True, False, False, False]


@pytest.mark.parametrize("run", [fused, staged])
def test_whatever_is_wrong_with_a_file_is_its_own_row_as_without_reading_ahead(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = [item(tmp_path / "in", number) for number in range(12)]
    frames = [Image.fromarray(np.full((12, 60), value, np.uint8)) for value in (1, 2)]
    frames[0].save(tmp_path / "in" / "5.tif", save_all=True, append_images=frames[1:])
    work[5] = planned(tmp_path / "in" / "5.tif", 5)
    os.unlink(work[1].path)
    Path(os.fsdecode(work[3].path)).write_bytes(b"another one")
    os.unlink(work[7].path)
    os.symlink(work[7].path, work[7].path)
    work[9] = replace(work[9], name="8")  # its output exists: not even read, though it may have been ahead
    os.unlink(work[11].path)

    def rows_of(name: str) -> list[tuple[object, ...]]:
        space = prepared(Workspace(root=tmp_path / name, epoch=1, stop=tmp_path / "stop"))
        return told(run(work, replace(RECIPE, on_conflict="skip"), space))

    monkeypatch.setattr(read_ahead, "SLOW_S", -1.0)
    ahead = rows_of("ahead")
    monkeypatch.setattr(read_ahead, "SLOW_S", WITHIN_S)
    assert ahead == rows_of("in turn")
    reasons = {row[0]: row[2] for row in ahead if row[1] != "done"}
    if run is fused:  # staged, nothing of this block is published when the first stage looks
        assert reasons.pop(9) == "exists"
    else:
        assert reasons.pop(9) == "write_error"
    assert reasons == {1: "missing", 3: "changed", 7: "missing", 11: "missing"}


def test_a_file_is_judged_as_it_was_read(tmp_path: Path, workspace: Workspace, events: Events, watched: Recipe) -> None:
    work = [item(tmp_path, number) for number in range(3)]

    def gone() -> None:
        events.until("read", 2)
        os.unlink(work[2].path)

    events.during["measured", 1] = gone
    assert [row.status for row in fused(work, watched, workspace)] == ["done"] * 3


@pytest.mark.parametrize("limit", ["of reading ahead", "of the job"])
def test_a_large_file_is_read_when_its_turn_comes(
    limit: str, tmp_path: Path, workspace: Workspace, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = [item(tmp_path, number) for number in range(4)]
    (tmp_path / "2.png").write_bytes(b"no image".ljust(5_000))
    large = work[2] = planned(tmp_path / "2.png", 2)
    recipe = RECIPE
    if limit == "of reading ahead":
        monkeypatch.setattr(read_ahead, "AHEAD_BYTES", large.size - 1)
    else:
        recipe = replace(RECIPE, memory_per_image=large.size - 1)
    ahead: dict[int, bool] = {}
    for number in range(4):
        events.during["begun", number] = lambda: ahead.setdefault(
            events.noted[-1][1], threading.current_thread() is not threading.main_thread()
        )
    fused(work, recipe, workspace)
    assert ahead.pop(2, False) is False
    assert ahead == {0: False, 1: True, 3: limit == "of reading ahead"}


def test_a_file_of_several_images_is_read_again_and_the_one_ahead_is_not(
    tmp_path: Path, workspace: Workspace, events: Events
) -> None:
    work = [item(tmp_path, number) for number in range(4)]
    pages = [Image.fromarray(np.full((12, 60), value, np.uint8)) for value in (1, 2)]
    pages[0].save(tmp_path / "1.tif", save_all=True, append_images=pages[1:])
    work[1] = planned(tmp_path / "1.tif", 1)
    assert [row.status for row in fused(work, RECIPE, workspace)] == ["done"] * 4
    assert Counter(number for what, number in events.noted if what == "read") == {0: 1, 1: 2, 2: 1, 3: 1}


def test_of_no_items_there_are_no_rows(workspace: Workspace) -> None:
    assert fused([], RECIPE, workspace) == []


def test_an_error_goes_with_all_that_was_read_once_it_is_told(
    tmp_path: Path, workspace: Workspace, events: Events
) -> None:
    work = [item(tmp_path, number) for number in range(3)]
    for gone in work[1:]:  # one is read ahead, and after its error the other in its turn
        os.unlink(gone.path)
    ahead, errors = ReadAhead(work, {1: RECIPE}, workspace.stop), []
    gc.disable()
    try:
        for one in ahead:
            try:
                ahead.read(one, RECIPE)
            except ImageError as error:
                errors.append(weakref.ref(error))
        assert len(errors) == 2
        deadline = time.monotonic() + WITHIN_S
        while any(error() for error in errors):
            assert time.monotonic() < deadline, "something holds it that only the collector would find"
            time.sleep(0.001)  # its thread may not have ended
    finally:
        gc.enable()


def test_after_a_stop_no_reading_begins(tmp_path: Path, workspace: Workspace, events: Events) -> None:
    events.during["begun", 0] = workspace.stop.touch
    rows = fused([item(tmp_path, number) for number in range(3)], RECIPE, workspace)
    assert [row.status for row in rows] == ["done", "released", "released"]
    assert events.noted == [("begun", 0), ("read", 0)]


def test_a_stop_waits_for_no_reading(tmp_path: Path, workspace: Workspace, events: Events, watched: Recipe) -> None:
    release = threading.Event()

    def stop() -> None:
        events.until("begun", 2)
        workspace.stop.touch()

    events.during["measured", 1] = stop
    events.during["begun", 2] = lambda: release.wait(WITHIN_S)
    rows = fused([item(tmp_path, number) for number in range(5)], watched, workspace)
    assert events.noted[-1] == ("measured", 1)  # 2 still hangs, and the block has ended
    release.set()
    assert [row.status for row in rows] == ["done", "done", "released", "released", "released"]
    assert inputs_in_hand(workspace.temporary) == []


HANGING = """
import sys, threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from pipelines.image_io import read_bytes
from pipelines.stages import image_stages, read_ahead
from tests.unit.stages.test_read_ahead import RECIPE, Workspace, fused, item, prepared
root = Path(sys.argv[1])
work = [item(root / "in", number) for number in range(4)]
begun = threading.Event()
def hanging(path, **expected):
    if path == work[2].path:
        print("reads 2", threading.current_thread().name, flush=True)
        begun.set()
        threading.Event().wait()
    return read_bytes(path, **expected)
read_ahead.SLOW_S = -1.0
image_stages.read_bytes = hanging
fused(work, RECIPE, prepared(Workspace(root=root / "out", epoch=1, stop=root / "stop", item_timeout_s=2.0)))
"""


def test_a_hang_in_reading_ahead_is_charged_to_its_input(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HANGING, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=2 * WITHIN_S,
        check=False,
    )
    assert ended.stdout == "reads 2 rayjobs-read-ahead\n"
    assert ended.returncode == 1
    (found,) = inputs_in_hand(tmp_path / "out" / ".rayjobs" / "tmp" / "1")
    assert (found.input, found.hung) == (2, True)
    assert {path.name for path in (tmp_path / "out" / "images").iterdir()} == {"0.png", "1.png"}
