"""The coordinator on a real cluster: order, limits, cancellation, crashes of all who take part, several drivers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipelines.contracts import TaskHandler
from pipelines.errors import RayjobsError
from pipelines.resources import ResourceEstimate
from pipelines.tasks import ExtensibleTask, Task, TaskPriority, TaskResult, TaskStatus
from rayjobs.run.ray_session import NAMESPACE, ray_session
from rayjobs.run.run_loop import Granted, Revoked
from rayjobs.run.shard_grants import ShardGrants
from tests.leaks import wait_until
from tests.runs import environment

if TYPE_CHECKING:
    from actors.coordinator.task_coordinator import TaskCoordinator

ROOT = Path(__file__).parents[2]
LONG_S = 60.0


def reserved_bytes() -> float:
    """What Ray reserves for the process that asks."""
    import ray

    reserved: float = ray.get_runtime_context().get_assigned_resources().get("memory", 0.0)
    return reserved


class Diary(TaskHandler):
    """Writes the task's id in a diary, then waits for the file that the task names, or dies, or raises."""

    def handle_task(self, task: ExtensibleTask) -> TaskResult:
        with Path(task.config["diary"]).open("a") as diary:
            diary.write(f"{task.task_id}\n")
        if task.config.get("dies"):
            os._exit(1)
        match task.config.get("raises"):
            case True:
                raise ValueError("no such luck\nsecond line")
            case "exit":
                sys.exit("enough")
            case "interrupt":
                raise KeyboardInterrupt
            case "memory" if reserved_bytes() < task.config["needs"]:
                raise MemoryError
        while task.config.get("stubborn"):
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()
        if "until" in task.config:
            wait_until(Path(task.config["until"]).exists, timeout_s=LONG_S)
        return TaskResult(task_id=task.task_id, status=TaskStatus.COMPLETED, value={"id": task.task_id})

    def get_supported_task_types(self) -> list[str]:
        return ["write", "other"]


class Desk:
    """Tasks of one test: their diary, and the files that let them end."""

    def __init__(self, place: Path) -> None:
        self.diary = place / "diary"
        self.place = place
        self.prefix = uuid.uuid4().hex[:6]

    def task(
        self,
        name: str,
        *,
        until: str = "",
        depends_on: tuple[str, ...] = (),
        cpus: float = 1.0,
        timeout_s: float | None = None,
        max_attempts: int = 3,
        **more: bool | str | float,
    ) -> Task:
        payload: dict[str, object] = {"diary": str(self.diary), **more}
        if until:
            payload["until"] = str(self.place / until)
        return Task(
            task_id=self.id(name),
            task_type="write",
            payload=payload,
            resources=ResourceEstimate(cpus=cpus),
            depends_on=tuple(map(self.id, depends_on)),
            timeout_s=timeout_s,
            max_attempts=max_attempts,
        )

    def id(self, name: str) -> str:
        return f"{self.prefix}-{name}"

    def written(self) -> list[str]:
        lines = self.diary.read_text().split() if self.diary.exists() else []
        return [line.split("-", 1)[1] for line in lines]

    def allow(self, name: str) -> None:
        (self.place / name).touch()


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYJOBS_HOME", str(tmp_path_factory.mktemp("home")))
        with ray_session(name="coordinator", workers=2):
            yield


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def coordinator() -> Iterator[TaskCoordinator]:
    from actors.coordinator.task_coordinator import TaskCoordinator

    with TaskCoordinator() as coordinator:
        coordinator.register_handler(Diary())
        coordinator.set_concurrency_limits("write", 100)
        yield coordinator


def statuses(results: list[TaskResult]) -> list[TaskStatus]:
    return [result.status for result in results]


def test_results_come_in_the_order_of_the_handles(coordinator: TaskCoordinator, desk: Desk) -> None:
    handles = coordinator.submit_tasks([desk.task(f"{n}") for n in range(50)])
    results = coordinator.wait_for_completion(handles[::-1], LONG_S)
    assert statuses(results) == [TaskStatus.COMPLETED] * 50
    assert [result.value["id"] for result in results] == [desk.id(f"{n}") for n in reversed(range(50))]
    assert sorted(desk.written(), key=int) == [f"{n}" for n in range(50)]


def test_more_urgent_tasks_go_first(coordinator: TaskCoordinator, desk: Desk) -> None:
    coordinator.set_concurrency_limits("write", 1)
    handles = [coordinator.submit_task(desk.task("first", until="go"))]
    wait_until(lambda: desk.written() == ["first"])
    for priority in reversed(TaskPriority):
        handles.append(coordinator.submit_task(desk.task(priority.name), priority))
    told = coordinator.get_queue_status()
    assert told.by_priority == {"urgent": 1, "high": 1, "normal": 1, "low": 1}
    assert (told.by_type, told.limits["write"]) == ({"write": 1}, 1)
    desk.allow("go")
    coordinator.wait_for_completion(handles, LONG_S)
    assert desk.written() == ["first", "URGENT", "HIGH", "NORMAL", "LOW"]


def test_waiting_ends_at_its_timeout_with_what_is_known(coordinator: TaskCoordinator, desk: Desk) -> None:
    handles = coordinator.submit_tasks([desk.task("quick"), desk.task("slow", until="go")])
    wait_until(lambda: coordinator.get_task_status(handles[0]).terminal)
    assert statuses(coordinator.wait_for_completion(handles, 0.1)) == [TaskStatus.COMPLETED, TaskStatus.RUNNING]
    desk.allow("go")
    assert statuses(coordinator.wait_for_completion(handles, LONG_S)) == [TaskStatus.COMPLETED] * 2


def test_a_limit_changes_while_tasks_run(coordinator: TaskCoordinator, desk: Desk) -> None:
    coordinator.set_concurrency_limits("write", 1)
    handles = coordinator.submit_tasks([desk.task("a", until="go"), desk.task("b", until="go")])
    wait_until(lambda: desk.written() == ["a"])
    assert coordinator.get_queue_status().running == 1
    coordinator.set_concurrency_limits("write", 2)
    wait_until(lambda: desk.written() == ["a", "b"])
    desk.allow("go")
    coordinator.wait_for_completion(handles, LONG_S)


def test_a_running_and_a_waiting_task_are_cancelled_and_the_room_comes_back(
    coordinator: TaskCoordinator, desk: Desk
) -> None:
    handles = coordinator.submit_tasks([desk.task(name, until="never", cpus=2) for name in ("runs", "waits")])
    wait_until(lambda: desk.written() == ["runs"])
    assert [coordinator.cancel_task(handle) for handle in (*handles, *handles)] == [True] * 4
    assert statuses(coordinator.wait_for_completion(handles, LONG_S)) == [TaskStatus.CANCELLED] * 2
    after = coordinator.submit_task(desk.task("after", cpus=2))
    assert statuses(coordinator.wait_for_completion([after], LONG_S)) == [TaskStatus.COMPLETED]
    assert not coordinator.cancel_task(after)
    assert desk.written() == ["runs", "after"]


def test_tasks_that_are_cancelled_as_they_start_end(coordinator: TaskCoordinator, desk: Desk) -> None:
    """64, in rounds of 8, each a little later in its start than the round before; the last ones run."""
    cancelled = []
    for round_ in range(8):
        names = [f"{round_}.{number}" for number in range(8)]
        handles = coordinator.submit_tasks([desk.task(name, until="never", cpus=0.2) for name in names])
        threading.Event().wait(round_ * 0.008)
        for handle in handles:
            assert coordinator.cancel_task(handle)
        cancelled += handles
    assert statuses(coordinator.wait_for_completion(cancelled, LONG_S)) == [TaskStatus.CANCELLED] * 64
    told = coordinator.get_queue_status()
    assert (told.pending, told.running) == (0, 0)
    after = coordinator.submit_tasks([desk.task(f"after-{n}") for n in range(2)])
    assert statuses(coordinator.wait_for_completion(after, LONG_S)) == [TaskStatus.COMPLETED] * 2


def test_handlers_that_hang_end_with_the_reason_and_give_their_room_back(
    coordinator: TaskCoordinator, desk: Desk
) -> None:
    """One that lets itself be interrupted and is tried again, and one that has to be killed."""
    hangs = desk.task("hangs", until="never", timeout_s=1.0, max_attempts=2)
    stubborn = desk.task("stubborn", stubborn=True, timeout_s=1.0, max_attempts=1)
    quick = desk.task("quick", timeout_s=LONG_S)
    results = coordinator.wait_for_completion(coordinator.submit_tasks([hangs, stubborn, quick]), LONG_S)
    assert [(result.status, result.error) for result in results] == [
        (TaskStatus.FAILED, "timed out after 1 s, 2 times"),
        (TaskStatus.FAILED, "timed out after 1 s"),
        (TaskStatus.COMPLETED, None),
    ]
    assert Counter(desk.written()) == {"hangs": 2, "stubborn": 1, "quick": 1}
    after = coordinator.submit_task(desk.task("after", cpus=2))
    assert statuses(coordinator.wait_for_completion([after], LONG_S)) == [TaskStatus.COMPLETED]


@pytest.mark.parametrize(
    ("raises", "error", "times"),
    [("exit", "SystemExit: enough", 1), ("interrupt", "its process died 3 times", 3)],
)
def test_a_handler_that_raises_what_ends_programs_fails_alone(
    coordinator: TaskCoordinator, desk: Desk, raises: str, error: str, times: int
) -> None:
    bad, good = coordinator.submit_tasks([desk.task("bad", raises=raises), desk.task("good")])
    results = coordinator.wait_for_completion([bad, good], LONG_S)
    assert statuses(results) == [TaskStatus.FAILED, TaskStatus.COMPLETED]
    assert error in str(results[0].error)
    assert Counter(desk.written()) == {"bad": times, "good": 1}


def test_a_handler_that_finds_no_memory_is_tried_with_more(coordinator: TaskCoordinator, desk: Desk) -> None:
    import ray

    share = ray.cluster_resources()["memory"] / 2
    needs = {"some": share, "all": 1.9 * share, "more": 2.1 * share}
    tasks = [desk.task(name, raises="memory", needs=amount) for name, amount in needs.items()]
    results = coordinator.wait_for_completion(coordinator.submit_tasks(tasks), LONG_S)
    assert [(result.status, result.error) for result in results] == [
        (TaskStatus.COMPLETED, None),
        (TaskStatus.COMPLETED, None),
        (TaskStatus.FAILED, "no memory for it, 3 times: MemoryError"),
    ]
    assert Counter(desk.written()) == {"some": 2, "all": 3, "more": 3}


def test_a_failure_has_one_line_and_passes_on(coordinator: TaskCoordinator, desk: Desk) -> None:
    handles = coordinator.submit_tasks([desk.task("bad", raises=True), desk.task("later", depends_on=("bad",))])
    bad, later = coordinator.wait_for_completion(handles, LONG_S)
    assert (bad.status, bad.error) == (TaskStatus.FAILED, "ValueError: no such luck")
    assert later.status is TaskStatus.FAILED
    assert desk.written() == ["bad"]


def test_what_can_never_run_is_refused_at_once(coordinator: TaskCoordinator, desk: Desk) -> None:
    with pytest.raises(RayjobsError, match="the largest node has 2"):
        coordinator.submit_task(desk.task("large", cpus=3))
    with pytest.raises(RayjobsError, match="circle"):
        coordinator.submit_tasks([desk.task("a", depends_on=("b",)), desk.task("b", depends_on=("a",))])
    with pytest.raises(RayjobsError, match="no handler runs tasks of type 'nothing'"):
        coordinator.submit_task(Task(task_id="x", task_type="nothing"))
    assert coordinator.get_queue_status().pending == 0


def test_submitting_again_is_the_same_task(coordinator: TaskCoordinator, desk: Desk) -> None:
    handles = [coordinator.submit_task(desk.task("once")) for _ in range(3)]
    assert len(set(handles)) == 1
    coordinator.wait_for_completion(handles, LONG_S)
    coordinator.submit_task(desk.task("once"))
    assert desk.written() == ["once"]


def test_a_task_that_kills_its_process_fails_alone(coordinator: TaskCoordinator, desk: Desk) -> None:
    tasks = [desk.task(f"{n}", dies=n == 7) for n in range(30)]
    results = coordinator.wait_for_completion(coordinator.submit_tasks(tasks), LONG_S)
    failed = [result for result in results if result.status is not TaskStatus.COMPLETED]
    assert [result.task_id for result in failed] == [desk.id("7")]
    assert "its process died 3 times" in str(failed[0].error)
    assert Counter(desk.written())["7"] == 3


@pytest.mark.parametrize("for_ever", [False, True], ids=["restarted by Ray", "created anew by the driver"])
def test_a_killed_coordinator_loses_nothing_and_repeats_nothing(
    coordinator: TaskCoordinator, desk: Desk, for_ever: bool
) -> None:
    import ray

    handles = coordinator.submit_tasks([desk.task(name, until="go") for name in ("held-0", "held-1")])
    handles += coordinator.submit_tasks([desk.task(f"{n}", depends_on=("held-0",)) for n in range(20)])
    wait_until(lambda: len(desk.written()) == 2)
    ray.kill(ray.get_actor("coordinator", namespace=NAMESPACE), no_restart=for_ever)
    more = coordinator.submit_task(desk.task("meanwhile"))
    wait_until(lambda: coordinator.get_queue_status().running == 2)
    desk.allow("go")
    results = coordinator.wait_for_completion([*handles, more], LONG_S)
    assert statuses(results) == [TaskStatus.COMPLETED] * 23
    assert set(Counter(desk.written()).values()) == {1}
    assert coordinator.get_queue_status().limits["write"] == 100


def test_calls_from_several_threads(coordinator: TaskCoordinator, desk: Desk) -> None:
    found: dict[int, list[TaskStatus]] = {}

    def use(thread: int) -> None:
        handles = [coordinator.submit_task(desk.task(f"{thread}.{n}")) for n in range(10)]
        coordinator.get_queue_status()
        coordinator.cancel_task(handles[-1])
        found[thread] = statuses(coordinator.wait_for_completion(handles, LONG_S))

    threads = [threading.Thread(target=use, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(status is TaskStatus.COMPLETED for all_ in found.values() for status in all_[:-1])
    assert all(all_[-1].terminal for all_ in found.values())


def test_another_driver_can_ask_wait_and_cancel(coordinator: TaskCoordinator, desk: Desk) -> None:
    from actors.coordinator.task_coordinator import TaskCoordinator

    handles = coordinator.submit_tasks([desk.task("a", until="go"), desk.task("b", until="never")])
    with TaskCoordinator() as other:
        wait_until(lambda: other.get_task_status(handles[0]) is TaskStatus.RUNNING)
        assert other.cancel_task(handles[1])
        desk.allow("go")
        results = other.wait_for_completion(handles, LONG_S)
    assert statuses(results) == [TaskStatus.COMPLETED, TaskStatus.CANCELLED]
    assert results[0].value == {"id": desk.id("a")}


def test_a_dead_driver_gives_its_room_back(coordinator: TaskCoordinator, desk: Desk) -> None:
    import ray

    code = """
import sys, threading
from pathlib import Path
from actors.coordinator.task_coordinator import TaskCoordinator
from rayjobs.run.ray_session import ray_session
from tests.cluster.test_task_coordinator import Desk, Diary
with ray_session(name="victim"):
    coordinator = TaskCoordinator()
    coordinator.register_handler(Diary())
    desk = Desk(Path(sys.argv[1]))
    coordinator.submit_tasks([desk.task(f"victim{n}", until="never", cpus=2) for n in range(3)])
    threading.Event().wait()
"""
    environment = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    victim = subprocess.Popen([sys.executable, "-c", code, str(desk.place)], cwd=ROOT, env=environment)
    try:
        wait_until(lambda: desk.written() == ["victim0"], timeout_s=LONG_S)
        mine = coordinator.submit_task(desk.task("mine", cpus=2))
        assert coordinator.get_task_status(mine) is TaskStatus.PENDING
    finally:
        victim.send_signal(signal.SIGKILL)
        victim.wait()
    assert statuses(coordinator.wait_for_completion([mine], 15.0)) == [TaskStatus.COMPLETED]
    assert desk.written() == ["victim0", "mine"]


def test_an_urgent_task_makes_a_job_yield(coordinator: TaskCoordinator, desk: Desk) -> None:
    grants = ShardGrants(job_id="bulk", coordinator=coordinator)
    grants.request("s0")
    assert grants.decisions(LONG_S) == [Granted("s0", 2)]
    urgent = coordinator.submit_tasks([desk.task(f"{n}") for n in range(4)], TaskPriority.URGENT)
    assert grants.decisions(LONG_S) == [Revoked("s0")]
    assert desk.written() == []
    grants.end("s0", finished=False)
    assert statuses(coordinator.wait_for_completion(urgent, LONG_S)) == [TaskStatus.COMPLETED] * 4
    (again,) = grants.decisions(LONG_S)
    assert isinstance(again, Granted)
    grants.end("s0", finished=True)
    wait_until(lambda: coordinator.get_queue_status().running == 0)


def test_a_driver_that_was_thought_dead_goes_on(coordinator: TaskCoordinator, desk: Desk) -> None:
    """As one is that stood still for longer than its lease; its lease is ended here, instead of waiting for that."""
    handles = coordinator.submit_tasks([desk.task("a", until="go"), desk.task("b", depends_on=("a",))])
    grants = ShardGrants(job_id="bulk", max_cpus=1, coordinator=coordinator)
    grants.request("s0")
    assert grants.decisions(LONG_S) == [Granted("s0", 1)]
    wait_until(lambda: desk.written() == ["a"])
    coordinator._link.call("close_owner", coordinator.owner)
    assert set(statuses(coordinator.wait_for_completion(handles, LONG_S))) == {TaskStatus.CANCELLED}
    assert grants.decisions(LONG_S)[0] == Revoked("s0")
    assert grants.decisions(LONG_S) == [Granted("s0", 1)]
    grants.end("s0", finished=True)
    wait_until(lambda: coordinator.get_queue_status().running == 0)


def test_the_coordinator_leaves_after_the_last_driver_and_is_created_once_by_the_next() -> None:
    import ray

    from actors.coordinator.task_coordinator import TaskCoordinator

    def gone() -> bool:
        try:
            ray.get_actor("coordinator", namespace=NAMESPACE)
        except ValueError:
            return True
        return False

    TaskCoordinator().close()
    wait_until(gone, timeout_s=10.0)
    made: list[TaskCoordinator] = []
    threads = [threading.Thread(target=lambda: made.append(TaskCoordinator())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({coordinator._incarnation for coordinator in made}) == 1
    for coordinator in made:
        coordinator.close()
        coordinator.close()
    with pytest.raises(RayjobsError, match="closed"):
        made[0].submit_tasks([])
    wait_until(lambda: ray.available_resources().get("CPU") == 2.0)


ENDS = """
import threading, sys
from pathlib import Path
import ray
from actors.coordinator.task_coordinator import TaskCoordinator
from rayjobs.run.ray_session import ray_session
from tests.cluster.test_task_coordinator import Desk, Diary
from tests.leaks import wait_until
threading.excepthook = lambda raised: print("a thread ended with", raised.exc_type, flush=True)
desk = Desk(Path(sys.argv[1]))
with ray_session(name="ends", workers=1):
    coordinator = TaskCoordinator()
    coordinator.register_handler(Diary())
    (handle,) = coordinator.submit_tasks([desk.task("runs", until="never")])
    wait_until(lambda: desk.written() == ["runs"], timeout_s=60)
    ray.shutdown()
    wait_until(lambda: not [each for each in threading.enumerate() if each.name.startswith("rayjobs-grant-")])
    print(coordinator.get_task_status(handle).value, flush=True)
    coordinator.close()
    print("closed", flush=True)
"""


def test_ray_that_ends_while_tasks_run_lets_them_go_and_ends_no_thread_with_an_error(tmp_path: Path) -> None:
    """In a process of its own, which Ray's library ends where a thread asks something of it as it is taken down."""
    command = [sys.executable, "-c", ENDS, str(tmp_path)]
    ended = subprocess.run(
        command, cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, timeout=LONG_S, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "pending\nclosed\n"), ended.stderr
