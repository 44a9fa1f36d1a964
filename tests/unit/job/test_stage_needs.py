"""Which stages run apart, and what a shard, an image and a stage hold for that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from actors.resources.cluster_view import Node
from pipelines.analyses.registry import Analysis, Column, Result
from pipelines.contracts import RESOURCES, ProcessorExtension, ResourceProvider
from pipelines.extensions.extension_adapters import ExtensionError, ExtensionKind
from pipelines.extensions.extension_manager import process_extensions
from pipelines.registry import Parameters
from pipelines.resources import ResourceAllocation, ResourceInfo
from rayjobs.job.job_file import parse_job
from rayjobs.job.job_spec import JobSpec
from rayjobs.job.stage_needs import (
    chosen_stages,
    held_per_cpu,
    leased_at_once,
    leased_units,
    most_at_once,
    rendering_has_all,
    required,
    stage_needs,
)


class Upscale(ProcessorExtension):
    """Needs a GPU."""

    def process(self, image: Any, config: Any) -> Any:
        return image

    def get_name(self) -> str:
        return "upscale"

    def get_supported_configs(self) -> list[str]:
        return []

    def get_required_resources(self) -> dict[str, float]:
        return {"gpu": 0.5}


class Seats(ResourceProvider):
    """Two of them."""

    def get_available_resources(self) -> ResourceInfo:
        return ResourceInfo(total={"seat": 2}, available={"seat": 2})

    def allocate(self, amount: int) -> ResourceAllocation:
        return ResourceAllocation(allocation_id="1", resource_type="seat", amounts={"seat": amount})

    def release(self, allocation: ResourceAllocation) -> None:
        """Nothing."""


def faces(image: np.ndarray[Any, Any]) -> Result:
    """Counts faces."""
    return {"count": 0}


FACES = Analysis("faces", "measurements", faces, Parameters, lambda **_: [Column("count", "int64", "1", "Faces")])


@pytest.fixture(autouse=True)
def extensions() -> Iterator[None]:
    manager = process_extensions()
    undo = [
        manager.register(ExtensionKind.PROCESSOR, "upscale", Upscale()),
        manager.register(ExtensionKind.RESOURCE, "seat", Seats()),
        manager.register(ExtensionKind.ANALYSIS, "faces", FACES),
    ]
    yield
    for each in undo:
        each()
    assert "seat" not in RESOURCES


def job(**changes: Any) -> JobSpec:
    plugins = ["upscale", "seat", "faces"]
    return parse_job(json.dumps({"name": "job", "inputs": ["in/"], "output": "out", "plugins": plugins, **changes}))


@pytest.mark.parametrize(
    ("changes", "stages"),
    [
        ({}, "fused"),
        ({"requires": {"gpu": 1}}, "staged"),
        ({"requires": {"scanner": 1}}, "fused"),  # nothing says that only one stage needs it
        ({"requires": {"render": {"scanner": 1}}}, "staged"),
        ({"requires": {"export": {"tape": 1}}}, "staged"),
        ({"requires": {stage: {"scanner": 1} for stage in ("render", "analyze", "export")}}, "fused"),
        ({"requires": {"render": {"seat": 1}}}, "staged"),  # a unit of a provider as well
        ({"requires": {"seat": 1}}, "fused"),
        ({"requires": {"gpu": 1}, "stages": "fused"}, "fused"),
        ({"stages": "staged"}, "staged"),
        ({"operations": ["upscale"]}, "staged"),
    ],
    ids=str,
)
def test_stages_run_apart_where_that_gives_something_free_earlier(changes: dict[str, Any], stages: str) -> None:
    assert chosen_stages(job(**changes)) == stages


def test_a_gpu_is_held_by_the_stages_that_can_use_one() -> None:
    assert stage_needs(job(requires={"gpu": 1})) == {"render": {"gpu": 1}, "analyze": {}, "export": {}}
    needs = stage_needs(job(requires={"gpu": 1}, analyses=["faces"]))  # a plug-in that may use it
    assert needs == {"render": {"gpu": 1}, "analyze": {"gpu": 1}, "export": {}}
    assert stage_needs(job(operations=["upscale"], requires={"analyze": {"gpu": 0.25}, "tape": 2})) == {
        "render": {"gpu": 0.5, "tape": 2},
        "analyze": {"gpu": 0.25, "tape": 2},
        "export": {"tape": 2},
    }


def test_a_shard_books_what_all_stages_need_and_no_stage_by_itself() -> None:
    apart = job(requires={"gpu": 1, "seat": 1, "scanner": 2, "export": {"tape": 3}})
    assert held_per_cpu(apart).gpus == 0
    assert held_per_cpu(apart).custom == {"scanner": 2, "seat": 1}
    assert (required(apart).gpus, required(apart).custom) == (1, {"scanner": 2, "seat": 1, "tape": 3})
    fused = apart.model_copy(update={"stages": "fused"})
    assert held_per_cpu(fused) == required(fused) == required(apart)
    assert leased_units(apart) == leased_units(fused) == leased_at_once(fused) == {}


def test_tasks_of_a_stage_hold_the_units_of_providers_that_it_alone_needs() -> None:
    apart = job(requires={"render": {"seat": 1, "scanner": 1}, "export": {"seat": 2}})
    assert leased_units(apart) == {"render": {"seat": 1}, "export": {"seat": 2}}
    assert leased_at_once(apart) == {"seat": 2}
    assert held_per_cpu(apart).custom == {}
    assert required(apart).custom == {"seat": 2, "scanner": 1}
    assert not rendering_has_all(apart), "a file that can't travel needs a task with all of it"
    assert rendering_has_all(job(requires={"gpu": 1, "render": {"seat": 2}, "export": {"seat": 1}}))


def test_no_more_tasks_of_a_stage_begin_than_there_is_room_for() -> None:
    nodes = [Node(name="a", total={"cpu": 8, "gpu": 1, "tape": 5}), Node(name="b", total={"cpu": 8, "gpu": 2})]
    assert most_at_once({"gpu": 0.5}, nodes, {}) == 6
    assert most_at_once({"gpu": 1, "tape": 2}, nodes, {}) == 1
    assert most_at_once({"tape": 2}, nodes, {}) == 2
    assert most_at_once({"seat": 1}, nodes, {"seat": 2}) == 2
    assert most_at_once({"seat": 1, "gpu": 1}, nodes, {"seat": 7}) == 3
    assert most_at_once({}, nodes, {"seat": 2}) is None


def test_an_extension_that_requires_nonsense_is_refused() -> None:
    class Odd(Upscale):
        def get_name(self) -> str:
            return "odd"

        def get_required_resources(self) -> dict[str, float]:
            return {"gpu": -1}

    with pytest.raises(ExtensionError, match="what it requires is units by name"):
        process_extensions().register(ExtensionKind.PROCESSOR, "odd", Odd())
