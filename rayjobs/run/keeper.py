"""The keeper: a process that starts a Ray for `rayjobs up`, answers who asks for it (``kept_ray``), and ends it.

Its Ray is the embedded one of ``ray_session``, whose driver does nothing but wait: it has the same limits and leaves as
little behind, also when this process is killed.
"""

from __future__ import annotations

import errno
import json
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from actors.home import rayjobs_home
from pipelines.errors import JobError
from rayjobs.run.kept_environment import OF_OTHERS, absolute_paths, environment
from rayjobs.run.kept_ray import ANSWER_S, MESSAGE_BYTES, KeptRay, process_at, socket_name
from rayjobs.run.last_words import explained
from rayjobs.run.signals import stopping_on_signals

if TYPE_CHECKING:
    from rayjobs.run.ray_ready_workers import ReadyWorkers

LOOK_S = 1.0
"""How often it is looked whether Ray still answers, has workers for the next job, and has been idle for long enough."""
SHORT_OF_FILES_S = 0.1
"""How long it waits for a descriptor before it looks again."""
REST_S = 1.0
"""How long nobody has used Ray when workers for the next job begin: the last one has left it, and writes its tables."""


def main() -> None:
    """The program that ``kept_ray.start`` starts: says a line when Ray is up, or on standard error why it isn't."""
    try:
        waiting = keep(float(sys.argv[2]), ready=_detach)
    except Exception as error:  # noqa: BLE001 - whoever waits is told
        sys.stderr.write(f"{explained(error)}\n")
        sys.exit(1)
    if waiting:
        os._exit(0)  # their lines end with the process, not before


def keep(idle_s: float, *, ready: Callable[[], None]) -> list[socket.socket]:
    """Start Ray, and keep it until somebody ends it, or nobody has used it for so long; who waits for its end.

    Raises
    ------
    JobError
        One is kept already, or Ray doesn't start.
    """
    listener = listen()
    here = environment()
    os.environ.update(absolute_paths())
    let_workers_find_this_code()
    home = rayjobs_home()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.chdir(home)  # where it was started may go away
    for name in OF_OTHERS:
        os.environ.pop(name, None)
    stopping = threading.Event()
    from rayjobs.run.ray_session import ray_session

    with stopping_on_signals(stopping), ray_session(name="rayjobs up", own=True) as cluster:
        from rayjobs.run.ray_disconnect import answers, gcs_address
        from rayjobs.run.ray_ready_workers import ReadyWorkers, raylet_here

        host, port = gcs_address()
        kept = KeptRay(
            address=f"{host}:{port}",
            token=os.environ["RAY_AUTH_TOKEN"],
            directory=str(cluster.directory),
            cpus=cluster.cpus,
            since=time.time(),
            idle_s=idle_s,
            environment=here,
        )
        workers = ReadyWorkers(raylet_here(), cluster.cpus)
        ready()
        return Keeper(kept, listener, workers).serve(over=lambda: stopping.is_set() or not answers((host, port)))


def let_workers_find_this_code() -> None:
    """Workers import it before a job tells them its path; another checkout may be what the installation leads to."""
    asked = "import importlib.util; found = importlib.util.find_spec('pipelines'); print(found.origin if found else '')"
    found = subprocess.run([sys.executable, "-P", "-c", asked], capture_output=True, text=True, check=False)
    place = Path(__file__).resolve().parents[2]
    if Path(found.stdout.strip()).resolve() != place / "pipelines/__init__.py":
        path = (str(place), os.environ.get("PYTHONPATH"))
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, path))


def listen() -> socket.socket:
    """Take the name at which this account's keeper listens.

    Raises
    ------
    JobError
        Another process has it.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        listener.bind(socket_name())
    except OSError as error:
        listener.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise JobError(_taken()) from error
    listener.listen(64)
    return listener


def _taken() -> str:
    """Who has the name, in words: any user may take it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line, suppress(ConnectionError, TimeoutError):
        line.settimeout(ANSWER_S)
        line.connect(socket_name())
        try:
            process_at(line)
        except PermissionError as error:
            return (
                f"Ray can't be kept: {error.strerror}, and has taken the name at which it would be found; have it "
                "ended, or set RAYJOBS_HOME to another directory of yours"
            )
    return "another `rayjobs up` has started Ray, or does so now"


class Keeper:
    """Answers for one Ray, in one thread: what it was told comes before what it decides."""

    def __init__(self, kept: KeptRay, listener: socket.socket, workers: ReadyWorkers | None = None) -> None:
        self._kept = kept
        self._listener = listener
        self._workers = workers
        self._asking: set[socket.socket] = set()
        self._holders: dict[socket.socket, str] = {}
        self._idle_since = time.monotonic()
        self._enders: list[socket.socket] = []

    def serve(self, *, over: Callable[[], bool]) -> list[socket.socket]:
        """Return when Ray shall end: nobody has held it for long, somebody said so, or it is ``over`` anyway.

        Who asks from then on finds nobody. Returns the lines of those that wait until it has ended.
        """
        with selectors.DefaultSelector() as selector, self._listener:
            selector.register(self._listener, selectors.EVENT_READ)
            while not (self._enders or over() or self._idle_s() > self._kept.idle_s):
                if self._workers is not None and self._idle_s() > REST_S:
                    self._workers.replenish()
                for key, _ in selector.select(LOOK_S):
                    line: socket.socket | None = key.data
                    if line is None:
                        line = self._accepted()
                        if line is not None:
                            self._asking.add(line)
                            selector.register(line, selectors.EVENT_READ, line)
                    elif not self._hear(line):
                        selector.unregister(line)
                        self._forget(line)
        for line in self._asking:
            line.close()
        return self._enders

    def _accepted(self) -> socket.socket | None:
        """The next connection, if it is one of this user: everybody can connect."""
        try:
            line, _ = self._listener.accept()
        except OSError:  # it has gone away, or there are no more descriptors: those of others will be free again
            time.sleep(SHORT_OF_FILES_S)
            return None
        try:
            process_at(line)
        except PermissionError:
            line.close()
            return None
        return line

    def _idle_s(self) -> float:
        return 0.0 if self._holders else time.monotonic() - self._idle_since

    def _hear(self, line: socket.socket) -> bool:
        """Answer a question; whether the connection goes on."""
        try:
            message = line.recv(MESSAGE_BYTES)
            if not message:
                return False
            process, asked = process_at(line), json.loads(message)
            if asked["question"] == "hold":
                self._holders[line] = f"{asked['name']} (process {process})"
            line.send(json.dumps(asdict(self._now())).encode())
            if asked["question"] == "end" and not self._holders:
                self._asking.discard(line)
                self._enders.append(line)
        # It has gone away, or asks what nobody knows, or what is no question at all.
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return False
        return True

    def _forget(self, line: socket.socket) -> None:
        if self._holders.pop(line, None) is not None and not self._holders:
            self._idle_since = time.monotonic()
            if self._workers is not None:
                self._workers.used()
        self._asking.discard(line)
        line.close()

    def _now(self) -> KeptRay:
        ends = None if self._holders else time.time() + self._kept.idle_s - self._idle_s()
        return replace(self._kept, holders=tuple(self._holders.values()), ends=ends)


def _detach() -> None:
    """Tell who waits that Ray is up, and write to nobody from now on."""
    sys.stdout.write("up\n")
    sys.stdout.flush()
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    os.close(nothing)
