"""The clock of the coordinator's actor. Calls, restarts and nodes of a real cluster: tests/cluster."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from actors.coordinator import ray_coordinator


class LostHead:
    """Knows its nodes once, and then fails; stands in for the module ``ray``."""

    def __init__(self) -> None:
        self.asked = 0
        self.ended: list[str] = []

    def nodes(self) -> list[dict[str, Any]]:
        self.asked += 1
        if self.asked > 1:
            raise ConnectionError("the head doesn't answer")
        return []

    def get_actor(self, name: str, namespace: str) -> str:
        return f"{namespace}/{name}"

    def kill(self, actor: str, *, no_restart: bool) -> None:
        assert no_restart
        self.ended.append(actor)


def test_the_clock_goes_on_when_a_tick_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    head = LostHead()
    monkeypatch.setattr(ray_coordinator, "ray", head)
    monkeypatch.setattr(ray_coordinator, "_forget_directories_of_creator", lambda: None)  # asks Ray itself
    for name, seconds in (("TICK_S", 0.001), ("NODES_S", 0.0), ("IDLE_S", 0.1)):
        monkeypatch.setattr(ray_coordinator, name, seconds)

    async def run_until_idle() -> None:
        await ray_coordinator.CoordinatorActor(str(tmp_path), "session_x")._clock

    asyncio.run(run_until_idle())
    assert head.asked > 2
    assert head.ended == ["rayjobs/coordinator"]
    assert {str(record.exc_info[1]) for record in caplog.records if record.exc_info} == {"the head doesn't answer"}
