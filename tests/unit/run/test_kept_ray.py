"""The Ray that `rayjobs up` keeps, by its keeper's socket: found, held, refused, ended. The Ray itself is made up."""

from __future__ import annotations

import errno
import json
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pipelines.errors import JobError
from rayjobs.command_line.cli import main
from rayjobs.command_line.json_outputs import output_schema
from rayjobs.run import ray_session
from rayjobs.run.dry_run import taken_cpus
from rayjobs.run.embedded_sessions import EmbeddedSession
from rayjobs.run.keeper import Keeper, listen
from rayjobs.run.kept_environment import absolute_paths, difference, environment, last_change
from rayjobs.run.kept_ray import (
    KeptRay,
    end,
    hold,
    kept_ray,
    socket_name,
    start,
    starts_ray,
    unused_ray,
    usable_ray,
)
from tests.leaks import wait_until
from tests.runs import ROOT

HOLDER = "import sys; from rayjobs.run.kept_ray import hold; held = hold('photos'); print('held'); sys.stdin.read()"

KEEPER = """
import os
from rayjobs.run import keeper, ray_session
def session(**named):
    print(os.environ["PYTHONPATH"], os.environ["RAYJOBS_HOME"], os.getcwd())
    raise SystemExit
ray_session.ray_session = session
keeper.keep(1.0, ready=print)
"""

Keep = Callable[..., threading.Thread]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account of its own, that no other keeper is of; nobody says which Ray to use, or has imported it before."""
    monkeypatch.setenv("RAYJOBS_HOME", str(tmp_path))
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def keep(tmp_path: Path) -> Iterator[Keep]:
    """Starts keepers, of a Ray that isn't there, as threads; ends them."""
    over = threading.Event()
    threads = []

    def started(*, idle_s: float = 3600.0, **changes: Any) -> threading.Thread:
        here = environment() | changes.pop("environment", {})
        ray = {"address": "127.0.0.1:1", "token": "secret", "directory": str(tmp_path), "cpus": 2, "environment": here}
        keeper = Keeper(KeptRay(**{**ray, "since": time.time(), "idle_s": idle_s, **changes}), listen())

        def run() -> None:
            for line in keeper.serve(over=over.is_set):
                line.close()  # as the end of its process does

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return threads[-1]

    yield started
    over.set()
    for thread in threads:
        thread.join()


def test_where_none_is_kept_a_session_starts_its_own() -> None:
    assert (kept_ray(), usable_ray(), unused_ray(), hold("job"), starts_ray()) == (None, None, None, None, True)
    assert end() is False


def test_a_plan_is_for_the_cpus_that_the_run_takes(keep: Keep) -> None:
    here = os.cpu_count()
    assert (taken_cpus(None), taken_cpus(10_000), taken_cpus(1)) == (here, here, 1)
    keep(cpus=500)
    assert (taken_cpus(None), taken_cpus(10_000), taken_cpus(2)) == (500, 500, 2)


def test_who_holds_it_is_told_and_keeps_it_from_ending(keep: Keep) -> None:
    thread = keep()
    assert not starts_ray()
    one, two = hold("photos"), hold("two")
    assert one is not None
    assert two is not None
    assert one.ray.token == "secret"
    found = kept_ray()
    assert found is not None
    assert found.holders == (f"photos (process {os.getpid()})", f"two (process {os.getpid()})")
    assert found.ends is None
    one.release()
    with pytest.raises(JobError, match=rf"in use by two \(process {os.getpid()}\); wait for it, or stop it"):
        end()
    two.release()
    assert end() is True
    thread.join(30)
    assert not thread.is_alive()
    assert kept_ray() is None


def test_a_holder_that_is_killed_holds_nothing(keep: Keep) -> None:
    keep()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert holder.stdout is not None
    wait_until(lambda: bool((kept_ray() or pytest.fail("it has ended")).holders))
    holder.kill()
    holder.communicate()
    wait_until(lambda: not (kept_ray() or pytest.fail("it has ended")).holders)


def test_there_is_one_and_the_end_of_its_process_makes_room(keep: Keep) -> None:
    keep()
    with pytest.raises(JobError, match="another `rayjobs up`"):
        listen()
    assert start(60.0)[1] is False
    end()
    keep()
    assert usable_ray() is not None


def test_who_connects_and_says_nothing_or_nonsense_disturbs_nobody(keep: Keep) -> None:
    keep()
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as silent,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as confused,
    ):
        silent.connect(socket_name())
        confused.connect(socket_name())
        confused.send(b"\xff{")
        assert confused.recv(100) == b""
        for message in (b"[]", b"7", b'{"question": ["hold"]}', b"[" * 60_000):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
                other.settimeout(30)
                other.connect(socket_name())
                other.send(message)
                other.recv(2**18)
        assert usable_ray() is not None
        assert end() is True
        assert silent.recv(100) == b""


def test_another_user_can_neither_stay_connected_nor_pass_for_a_keeper(
    keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(line: socket.socket) -> int:
        raise PermissionError(errno.EPERM, "process 7 is of user 8")

    keep()
    with monkeypatch.context() as elsewhere, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        elsewhere.setattr("rayjobs.run.keeper.process_at", refuse)
        stranger.settimeout(30)
        stranger.connect(socket_name())
        assert stranger.recv(100) == b"", "it has said nothing"
        with pytest.raises(JobError, match=r"process 7 is of user 8, and has taken the name .* set RAYJOBS_HOME"):
            listen()
    assert usable_ray() is not None


def test_a_keeper_without_descriptors_waits_for_some(keep: Keep) -> None:
    keep()
    assert usable_ray() is not None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.settimeout(30)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
        try:
            with suppress(OSError):  # too many open files
                while True:
                    taken.append(os.dup(client.fileno()))
            client.connect(socket_name())
            time.sleep(0.5)  # it tries to accept meanwhile
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for descriptor in taken:
                os.close(descriptor)
        client.send(b'{"question": "look"}')
        assert json.loads(client.recv(2**18))["cpus"] == 2


class _Broken(EmbeddedSession):
    def end(self, *, failed: bool) -> None:
        raise OSError("the disk is full")


def test_a_session_that_ends_badly_holds_nothing(keep: Keep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep()
    broken = _Broken("session", tmp_path / "session", None, -1)
    connection = ray_session._Connection(threading.Lock(), embedded=broken, hold=hold("photos"))
    monkeypatch.setattr(ray_session, "_CONNECTION", connection)
    with pytest.raises(OSError, match="the disk is full"):
        ray_session._disconnect()
    wait_until(lambda: not (kept_ray() or pytest.fail("it has ended")).holders)


@pytest.mark.parametrize("name", ["MODEL_DIR", "OPENCV_IO_MAX_IMAGE_PIXELS", "CUDA_VISIBLE_DEVICES", "TZ", "HISTOGRAM"])
def test_variables_that_may_decide_results_count_and_their_values_are_told_to_nobody(
    name: str, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "/hidden/a")
    keep()
    assert usable_ray() is not None
    monkeypatch.setenv(name, "/hidden/b")
    assert unused_ray() == f"its {name} has another value"
    monkeypatch.delenv(name)
    assert unused_ray() == f"its {name} is set, here it is not"
    assert "hidden" not in str(kept_ray())


def test_where_one_is_and_what_a_session_sets_does_not_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = environment()
    for name in ("PWD", "OLDPWD", "SHLVL", "TERM", "SSH_TTY", "MAKELEVEL", "PYTEST_CURRENT_TEST", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "other")
    monkeypatch.chdir(tmp_path)
    of_opencv = "/site-packages/cv2/../../lib64"  # the entry that it adds when it is imported
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{of_opencv}:{os.environ.get('LD_LIBRARY_PATH', '')}")
    assert difference(before, environment()) is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # no device; not set: all of them
    assert difference(before, environment()) == "its CUDA_VISIBLE_DEVICES is not set, here it is"


def test_relative_paths_are_of_the_directory_that_they_were_given_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("PYTHONPATH", "src:/lib")
    monkeypatch.chdir(tmp_path / "one")
    there = environment()
    assert absolute_paths()["PYTHONPATH"] == f"{tmp_path}/one/src:/lib"
    monkeypatch.chdir(tmp_path / "two")
    assert difference(there, environment()) == "its PYTHONPATH has another value"
    monkeypatch.setenv("PYTHONPATH", "../one/src:/lib")
    assert difference(there, environment()) is None


def test_a_keeper_takes_relative_paths_along_to_its_home_which_need_not_be_there_yet(tmp_path: Path) -> None:
    variables = {**os.environ, "PYTHONPATH": "src:", "RAYJOBS_HOME": "new/home"}
    command = [sys.executable, "-c", KEEPER]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    home = f"{tmp_path}/new/home"
    assert (done.stdout.split(), done.stderr) == ([f"{tmp_path}/src", home, home], "")


def test_workers_that_belong_to_no_job_yet_find_the_code_of_their_keeper(tmp_path: Path) -> None:
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines/__init__.py").touch()  # of another checkout, which the installation leads to
    program = f"""
import os, subprocess, sys
before = os.environ.get("PYTHONPATH")
sys.path.insert(0, {str(ROOT)!r})
from rayjobs.run.keeper import let_workers_find_this_code
let_workers_find_this_code()
subprocess.run([sys.executable, "-P", "-c", "import pipelines; print(pipelines.__file__)"])
print(os.environ.get("PYTHONPATH") == before)
"""
    for there, same in (({"PYTHONPATH": str(tmp_path)}, "False"), ({}, "True")):
        given = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | there
        done = subprocess.run([sys.executable, "-c", program], env=given, capture_output=True, text=True, check=True)
        assert sorted(done.stdout.splitlines()) == sorted([str(ROOT / "pipelines/__init__.py"), same])


def test_a_change_of_the_code_is_seen_and_names_that_lead_nowhere_do_no_harm(tmp_path: Path) -> None:
    code = tmp_path / "actors/one.py"
    code.parent.mkdir()
    code.touch()
    (tmp_path / "actors/.#one.py").symlink_to("somebody@machine.1234")  # as an editor leaves it
    os.utime(code, (4e9, 4e9))
    assert last_change(tmp_path) == 4e9


def test_it_ends_when_nobody_has_held_it_for_so_long(keep: Keep) -> None:
    thread = keep(idle_s=2.0)
    held = hold("photos")
    assert held is not None
    thread.join(4)
    assert thread.is_alive()
    held.release()
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("there", "says"),
    [
        ({"environment": {"Ray": "2.59.0"}}, "its Ray is 2.59.0, here it is 2."),
        ({"environment": {"rayjobs": "0.1 in /opt"}}, "its rayjobs is 0.1 in /opt, here"),
        ({"environment": {"$OF_THERE": "0f"}}, "its OF_THERE is set, here it is not"),
        ({"environment": {"umask": "0777"}}, "its umask is 0777, here it is 0"),
        ({"environment": {"of a later version": "x"}}, "its of a later version is x, here it is not set"),
        ({"directory": "/nowhere/session"}, "its directory /nowhere/session isn't there"),
    ],
)
def test_one_that_does_not_fit_is_left_alone(keep: Keep, there: dict[str, Any], says: str) -> None:
    keep(**there)
    assert str(unused_ray()).startswith(says)
    assert (usable_ray(), hold("job"), starts_ray()) == (None, None, True)
    found = kept_ray()
    assert found is not None
    assert found.holders == ()


def test_a_cluster_that_is_named_comes_first(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    keep()
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:2")
    assert (usable_ray(), hold("job"), unused_ray(), starts_ray()) == (None, None, None, False)


def test_up_refuses_beside_one_that_does_not_fit(keep: Keep, capsys: pytest.CaptureFixture[str]) -> None:
    keep(environment={"Python": "3.99.0 in /opt"})
    assert main(["up"]) == 1
    assert "its Python is 3.99.0 in /opt, here it is 3." in capsys.readouterr().err


def test_commands_tell_of_it(keep: Keep, capsys: pytest.CaptureFixture[str]) -> None:
    def printed(*words: str) -> Any:
        assert main([*words, "--json"]) == 0
        value = json.loads(capsys.readouterr().out.splitlines()[-1])
        jsonschema.validate(value, {**output_schema(), "$ref": f"#/$defs/{words[0]}"})
        return value

    assert printed("down") == {"ended": False}
    keep(idle_s=600.0)
    found = printed("up", "--idle", "5")
    assert (found["started"], found["cpus"], found["idle_minutes"], found["holders"]) == (False, 2, 10, [])
    assert 500 < found["ends"] - time.time() <= 600
    assert "secret" not in str(found)
    assert main(["up"]) == 0
    assert capsys.readouterr().out.startswith("Ray is up already: 2 CPUs, up since ")
    assert main(["list"]) == 0
    assert "Ray is up: 2 CPUs" in capsys.readouterr().out
    main(["doctor", "--no-ray"])
    assert "ok       kept Ray: 2 CPUs, up since " in capsys.readouterr().out
    held = hold("photos")
    assert held is not None
    assert main(["down"]) == 1
    assert "in use by photos" in capsys.readouterr().err
    held.release()
    assert printed("down") == {"ended": True}


@pytest.mark.parametrize("minutes", ["0", "-5", "1.5", "10081", "an hour", "²"])
def test_an_idle_time_has_bounds(minutes: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["up", f"--idle={minutes}"])
    assert stopped.value.code == 1
    assert "isn't a number of minutes from 1 to 10,080" in capsys.readouterr().err
