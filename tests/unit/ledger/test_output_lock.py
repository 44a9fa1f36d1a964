"""One driver per output directory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from actors.ledger.output_lock import LEASE_S, OutputInUseError, OutputLock, is_locked

HOLD = """
import sys, time
from pathlib import Path
from actors.ledger.output_lock import OutputLock
lock = OutputLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_second_driver_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    lock = OutputLock(tmp_path / "out" / ".rayjobs" / "lock")
    with pytest.raises(OutputInUseError, match=r"another run is writing here \(process \d+ on .+\); wait"):
        OutputLock(tmp_path / "out" / ".rayjobs" / "lock")
    lock.release()
    OutputLock(tmp_path / "out" / ".rayjobs" / "lock").release()


def test_kill_frees_the_lock_at_once(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert is_locked(path)
        holder.kill()
        holder.wait()
        assert not is_locked(path)
        OutputLock(path).release()


def test_holder_on_another_host_is_waited_for_until_its_lease_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    now = time.time()
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "renewed": now}))
    assert is_locked(path, now=now + 1)
    with pytest.raises(OutputInUseError, match="elsewhere"):
        OutputLock(path, now=now + LEASE_S - 1)
    assert not is_locked(path, now=now + LEASE_S + 1)
    OutputLock(path, now=now + LEASE_S + 1).release()


def test_asking_does_not_lock(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "lock")
    lock = OutputLock(tmp_path / "lock")
    lock.release()
    lock.release()
    assert not is_locked(tmp_path / "lock")
