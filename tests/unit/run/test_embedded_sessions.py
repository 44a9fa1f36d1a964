"""What embedded clusters leave on a machine goes with them, and with the next run what killed ones left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from actors.coordinator.cluster_ledger import ClusterLedger, ledger_path
from rayjobs.run.embedded_sessions import KEPT, EmbeddedSession


class Place:
    """A home, and Ray's directory."""

    def __init__(self, base: Path) -> None:
        self.home, self.ray = base / "home", base / "ray"

    def begin(self, number: int) -> EmbeddedSession:
        """A cluster with a session directory, the link to the latest, and its coordinator's ledger."""
        directory = self.ray / f"session_2026-01-01_00-00-{number:02d}_000000_1"
        (directory / "logs").mkdir(parents=True)
        latest = self.ray / "session_latest"
        latest.unlink(missing_ok=True)
        latest.symlink_to(directory)
        session = EmbeddedSession.begin(directory)
        ClusterLedger(ledger_path(self.home, directory.name)).close()
        return session

    def killed(self, number: int) -> None:
        """Its driver dies: the kernel gives its lock back."""
        os.close(self.begin(number).record)

    @property
    def sessions(self) -> list[int]:
        return sorted(int(path.name[25:27]) for path in self.ray.glob("session_2*"))

    @property
    def records(self) -> list[int]:
        return sorted(int(path.name[25:27]) for path in (self.home / "sessions").iterdir())

    @property
    def ledgers(self) -> int:
        return len(list((self.home / "clusters").glob("*.sqlite")))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("RAYJOBS_HOME", str(tmp_path / "home"))
    return Place(tmp_path)


def test_a_run_that_ended_leaves_nothing(place: Place) -> None:
    place.begin(1).end(failed=False)
    assert (place.sessions, place.records, place.ledgers) == ([], [], 0)
    assert list(place.ray.iterdir()) == []


def test_of_failed_and_killed_runs_the_last_directories_stay(place: Place) -> None:
    alive = place.begin(0)
    for number in range(1, 4):
        place.begin(number).end(failed=True)
    for number in range(4, 7):
        place.killed(number)
    place.begin(7).end(failed=False)
    assert KEPT == 3
    assert place.sessions == [0, 4, 5, 6]
    assert place.records == [0, 4, 5, 6]
    assert place.ledgers == 1  # of the one that is alive
    alive.end(failed=False)
    assert (place.sessions, place.ledgers) == ([4, 5, 6], 0)


def test_directories_that_are_gone_count_for_nothing(place: Place) -> None:
    for number in range(1, 4):
        place.killed(number)
    (place.ray / "session_2026-01-01_00-00-01_000000_1" / "logs").rmdir()
    (place.ray / "session_2026-01-01_00-00-01_000000_1").rmdir()
    place.begin(4).end(failed=True)
    assert place.sessions == [2, 3, 4]
    assert place.records == [2, 3, 4]


def test_sessions_of_others_and_what_a_record_does_not_mean_stay(place: Place, tmp_path: Path) -> None:
    theirs = place.ray / "session_2026-01-01_00-00-59_000000_1"
    theirs.mkdir(parents=True)
    mine = tmp_path / "mine"
    mine.mkdir()
    records = place.home / "sessions"
    records.mkdir(parents=True)
    for number in range(10, 20):
        (records / f"session_2026-01-01_00-00-{number}_000000_1").write_text(str(mine))
    place.begin(1).end(failed=False)
    assert theirs.is_dir()
    assert mine.is_dir()


def test_without_a_home_that_can_be_written_the_directory_still_goes(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RAYJOBS_HOME", str(tmp_path / "file"))
    directory = place.ray / "session_2026-01-01_00-00-01_000000_1"
    directory.mkdir(parents=True)
    EmbeddedSession.begin(directory).end(failed=False)
    assert place.sessions == []
