"""Memory budgets on real Ray: large images in tasks of their own, and what is left out when memory isn't enough."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from actors.resources.cluster_view import Node
from actors.resources.memory_manager import MemoryManager
from pipelines.errors import FailedReason
from pipelines.image_io import EncodeOptions, ReadPolicy
from pipelines.models import AnalysisRequest, ImageStatus, WorkItem
from pipelines.stages.block_task import Workspace
from pipelines.stages.recipe import Recipe
from rayjobs.run.ray_session import ray_session
from tests.workspaces import prepared

if TYPE_CHECKING:
    from rayjobs.run.ray_engine import RayEngine

pytestmark = pytest.mark.filterwarnings("ignore:`:DeprecationWarning:ray.data", "ignore:`ray_remote_args`")
"""Ray Data warns of options of its own when it copies its context; the other: ``pipelines.stages.ray_stream``."""

LARGE = 3
"""Number of the image that needs more than its task of a stream has."""
BUDGET = 2_000_000


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with ray_session(name="memory", workers=2):
        yield


@pytest.fixture
def items(tmp_path: Path) -> list[WorkItem]:
    pixels = np.random.default_rng(7).integers(0, 256, (600, 600, 3), np.uint8)
    found = []
    for number in range(6):
        path = tmp_path / f"{number}.png"
        Image.fromarray(pixels if number == LARGE else pixels[:60, :90]).save(path)
        stat = path.stat()
        found.append(
            WorkItem(
                id=number,
                path=bytes(path),
                size=stat.st_size,
                mtime_ns=stat.st_mtime_ns,
                name=str(number),
                title=str(number),
                recipe=1,
            )
        )
    return found


@pytest.fixture
def engine(tmp_path: Path) -> RayEngine:
    from actors.resources.ray_cluster import RayCluster
    from pipelines.stages.ray_blocks import StreamOptions
    from rayjobs.run.ray_engine import RayEngine

    workspace = prepared(Workspace(root=tmp_path / "out", epoch=1, stop=tmp_path / "stop", budget_bytes=BUDGET))
    memory = MemoryManager(RayCluster().nodes(), slots=2)
    recipe = Recipe(
        id=1,
        read=ReadPolicy(),
        image=EncodeOptions(format="png"),
        image_suffixes=(".png",),
        analyses=(AnalysisRequest("statistics"),),
    )
    options = StreamOptions(name="shard", slots=2, memory_per_task=memory.task_bytes)
    return RayEngine(job="memory", recipes={1: recipe}, workspace=workspace, options=options, memory=memory)


def rows_of(engine: RayEngine, items: list[WorkItem]) -> dict[int, ImageStatus]:
    rows = [row for group in engine.stream(items) for row in group]
    assert len(rows) == len(items)
    return {row.id: row for row in rows}


@pytest.mark.parametrize("stages", ["fused", "staged"])
def test_large_image_is_made_in_a_task_of_its_own(engine: RayEngine, items: list[WorkItem], stages: str) -> None:
    engine = replace(engine, options=replace(engine.options, stages=stages))
    rows = rows_of(engine, items)
    assert sorted(rows) == list(range(6))
    assert {row.status for row in rows.values()} == {"done"}
    assert {row.needs_bytes for row in rows.values()} == {None}
    made = Image.open(engine.workspace.root / f"images/{LARGE}.png")
    assert made.tobytes() == Image.open(Path(items[LARGE].path.decode())).tobytes()


def test_image_that_no_node_can_hold_has_failed(engine: RayEngine, items: list[WorkItem]) -> None:
    tiny = MemoryManager([Node(name="tiny", total={"cpu": 2, "memory": 2**21})], slots=2)
    rows = rows_of(replace(engine, memory=tiny), items)
    assert rows[LARGE].reason == FailedReason.TOO_LARGE
    assert "the largest node offers 2,097,152" in (rows[LARGE].message or "")
    assert [row.status for row in rows.values()].count("done") == 5


def test_after_kills_fewer_outputs_and_then_no_more(engine: RayEngine, items: list[WorkItem]) -> None:
    item = items[0]
    for _ in range(2):
        engine.memory.next_step(item.id)
    engine.memory.killed(item.id)
    while (step := engine.memory.next_step(item.id)) is not None and not step.fewer_outputs:
        pass
    assert step is not None
    assert engine.alone(item) == [
        ImageStatus(
            id=0,
            status="failed",
            reason=FailedReason.OUT_OF_MEMORY,
            message="its process needed more memory than the node has, alone as well",
            recipe=1,
        )
    ]


def test_what_is_left_out_is_said(engine: RayEngine, items: list[WorkItem]) -> None:
    engine.memory.next_step(0)
    engine.memory.killed(0)
    rows = engine.alone(items[0])
    assert isinstance(rows, list)
    assert [(row.status, row.degraded, row.part) for row in rows] == [
        ("done", "out of memory: analyses and charts left out", None)
    ]
    assert [output.path for output in rows[0].outputs] == ["images/0.png"]
