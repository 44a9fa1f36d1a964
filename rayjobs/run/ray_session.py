"""Where Ray starts: embedded on this machine, kept there, on the cluster of ``RAY_ADDRESS``, or in a submitted job.

The only place that calls ``ray.init``. Authentication is always decided here, because Ray's own default differs
between ``ray.init`` and ``ray start``; Ray reads that decision when it is imported, so it is imported after it.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.admission import Admission, offering
from pipelines.errors import JobError
from pipelines.retry_rules import RAY_START
from rayjobs.run.agents_watchdog import end_children, watch_children
from rayjobs.run.embedded_sessions import EmbeddedSession, check_temporary_directory, temporary_directory
from rayjobs.run.kept_ray import Hold, KeptRay, hold, usable_ray
from rayjobs.run.ray_address import cluster_address, in_submitted_job, starts_embedded

NAMESPACE = "rayjobs"
STAGE_RESOURCES = ("render", "analyze", "export_io")
EMBEDDED_STORE_BYTES = 2 * 2**30
"""Fused streams pass rows only, so the object store of an embedded run can stay small."""
WARM_WORKERS_PER_CPU = 2
"""Idle workers that Ray keeps. By default one per free CPU: a driver whose neighbour is busy loses its own after a
second, and an urgent task then waits 1.5 s for a fresh one. A run that is alone has nobody so urgent."""
PRELOADED = "pipelines.stages.ray_preloaded_worker"
"""What workers of a kept Ray import before they belong to a job."""
CONNECT_S = 10.0
"""How long a cluster may take to answer at all."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The Ray cluster that this process is connected to."""

    id: str
    cpus: int
    directory: Path | None
    """Where Ray keeps the files of an embedded one; None for another."""
    declared: frozenset[str]
    """Which of ``STAGE_RESOURCES`` the nodes declare."""

    @property
    def embedded(self) -> bool:
        """Whether it was started for this process."""
        return self.directory is not None


@dataclass(slots=True, eq=False)
class _Connection:
    """This process' one connection to Ray, which all sessions of its threads share: Ray knows no second one."""

    lock: threading.Lock
    sessions: int = 0
    cluster: Cluster | None = None
    ours: bool = False
    """Whether we connected, so that we disconnect; a program that had called ``ray.init`` keeps its connection."""
    embedded: EmbeddedSession | None = None
    """The cluster that was started for it."""
    alone: bool = False
    """Whether the cluster is this machine's, started for it or kept, and has no dashboard."""
    unused: bool = False
    """Whether no job of ours has run there, and nobody else's runs: its workers would be in their way."""
    watchdog: subprocess.Popen[bytes] | None = None
    """Of that cluster's agents."""
    hold: Hold | None = None
    """Of the Ray that ``rayjobs up`` keeps, if it is used."""
    failed: bool = False
    """Whether an error ended one of its sessions."""


_CONNECTION = _Connection(threading.Lock())


def before_importing_ray() -> None:
    """Decide what Ray reads when it is imported; for whoever imports it before a session does."""
    _settings_of_ray()
    decide_authentication(embedded=starts_embedded(), kept=usable_ray())


def is_alone() -> bool:
    """Whether the cluster is one of this machine alone, started by this process or kept, without a dashboard."""
    return _CONNECTION.alone


def first_use() -> bool:
    """Whether the cluster is ours alone, and has no workers yet that have worked for this process; said once."""
    with _CONNECTION.lock:
        unused, _CONNECTION.unused = _CONNECTION.unused, False
        return unused


@contextmanager
def ray_session(
    *,
    name: str,
    workers: int | None = None,
    dashboard: bool = False,
    own: bool = False,
    meanwhile: Callable[[], object] | None = None,
) -> Iterator[Cluster]:
    """Be connected to Ray; an embedded cluster ends with the last block that uses it.

    Sessions of several threads, or within each other, share the connection that the first one made; one that the
    program made itself is used as it is, and left alone.

    Parameters
    ----------
    name
        Of the job, for the dashboard.
    workers
        CPUs of an embedded cluster; all of the machine unless told otherwise.
    dashboard
        Whether an embedded cluster serves Ray's dashboard; the one that ``rayjobs up`` keeps has none, and isn't used.
    own
        Whether it is to be kept for other programs, and the one that ``rayjobs up`` keeps is left alone in any case.
    meanwhile
        Called while an embedded cluster starts, for imports that are needed after that; what it raises is passed over.
        Such a cluster is of one run: it has no agent, which serves Ray's metrics, and as few idle workers as Ray keeps.

    Raises
    ------
    JobError
        The cluster can't be reached, or refuses us.
    """
    _settings_of_ray()
    with _CONNECTION.lock:
        if _CONNECTION.cluster is None:
            try:
                _CONNECTION.hold = None if own or dashboard or _program_is_connected() else hold(name)
                _CONNECTION.ours, directory = _connect(name, partial(_start, name, workers, dashboard, own, meanwhile))
                kept = _CONNECTION.hold
                _CONNECTION.alone = kept is not None or (directory is not None and not dashboard)
                _CONNECTION.unused = _CONNECTION.alone and (kept is None or len(kept.ray.holders) <= 1)
                if directory is not None:
                    _CONNECTION.embedded = EmbeddedSession.begin(directory)
                    _CONNECTION.watchdog = _watch_agents()
                _CONNECTION.cluster = _describe(directory)
            except BaseException:
                _CONNECTION.failed = True
                _disconnect()
                raise
        cluster = _CONNECTION.cluster
        _CONNECTION.sessions += 1
    try:
        with offering(_burst_admission):
            yield cluster
    except Exception:
        _CONNECTION.failed = True
        raise
    finally:
        with _CONNECTION.lock:
            _CONNECTION.sessions -= 1
            if _CONNECTION.sessions == 0:
                _disconnect()


def _burst_admission() -> Admission:
    from actors.coordinator.burst_admission import BurstAdmission

    return BurstAdmission()


def _disconnect() -> None:
    _CONNECTION.cluster = None
    embedded, failed = _CONNECTION.embedded, _CONNECTION.failed
    ours, watchdog = _CONNECTION.ours, _CONNECTION.watchdog
    kept = _CONNECTION.hold
    _CONNECTION.embedded, _CONNECTION.failed, _CONNECTION.ours, _CONNECTION.watchdog = None, False, False, None
    _CONNECTION.hold, _CONNECTION.alone, _CONNECTION.unused = None, False, False
    with ExitStack() as ends:  # the last comes first, and each whatever becomes of the others
        if kept is not None:
            ends.callback(kept.release)
        if embedded is not None:
            ends.callback(embedded.end, failed=failed)
        if watchdog is not None:
            ends.callback(end_children, watchdog)
        if ours:
            from rayjobs.run.ray_disconnect import disconnect

            with own_sigterm_handler():
                disconnect()


def _program_is_connected() -> bool:
    if "ray" not in sys.modules:
        return False
    import ray

    return bool(ray.is_initialized())


def _connect(name: str, start: Callable[[], Path]) -> tuple[bool, Path | None]:
    """Connect unless the program has; (whether we did, the session directory of an embedded cluster)."""
    if _program_is_connected():
        from rayjobs.run.ray_disconnect import is_abandoned

        if is_abandoned():
            raise JobError("Ray has died under this program, which can't use it again; start the program anew")
        return False, None
    kept = _CONNECTION.hold.ray if _CONNECTION.hold else None
    address, embedded = kept.address if kept else cluster_address(), kept is None and starts_embedded()
    if address is not None:
        _check_reachable(address)
    decide_authentication(embedded=embedded, kept=kept)
    if embedded:
        check_temporary_directory(os.environ)
    if embedded or kept:
        # Fetched by a thread, metadata show the end of a task one round of Ray Data's loop later, and its CPU waits. On
        # one node nothing is far away, so the loop may fetch them itself.
        os.environ.setdefault("RAY_DATA_METADATA_PREFETCH_ON_THREAD", "0")
    import ray

    for attempt in range(1, RAY_START.tries + 1):
        try:
            with own_sigterm_handler():
                if embedded:
                    return True, start()
                ray.init(address, **_of_a_driver(name))  # without an address, as Ray itself decides
                return True, None
        except BaseException as error:
            ray.shutdown()
            if not isinstance(error, Exception):
                raise
            if attempt == RAY_START.tries or not embedded or isinstance(error, OSError | ValueError):
                raise JobError(_unreachable(address, error)) from error
    raise AssertionError("the last attempt returns or raises")


@contextmanager
def own_sigterm_handler() -> Iterator[None]:
    """Keep Ray from replacing what the program does on SIGTERM, if it does anything.

    Its handlers exit at once; and its library sets the system's own as it begins and ends, without a word to Python.
    """
    from ray._private import utils

    if not callable(signal.getsignal(signal.SIGTERM)):
        yield
        return
    of_ray = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = of_ray
        if threading.current_thread() is threading.main_thread():  # Python lets no other thread
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))


def _start(
    name: str,
    workers: int | None,
    dashboard: bool,
    own: bool,
    meanwhile: Callable[[], object] | None,
) -> Path:
    """Start Ray; its session directory."""
    import ray

    from rayjobs.run.ray_alone import starting_alone

    cpus = workers or os.cpu_count() or 1
    with nullcontext() if dashboard else starting_alone(meanwhile, agent=not (own or meanwhile)):
        context = ray.init(
            address="local",
            num_cpus=cpus,
            resources=dict.fromkeys(STAGE_RESOURCES, cpus),
            object_store_memory=EMBEDDED_STORE_BYTES,
            include_dashboard=dashboard,
            _system_config={
                "num_workers_soft_limit": -1 if meanwhile else WARM_WORKERS_PER_CPU * cpus + 1,
                "preload_python_modules": [PRELOADED] if own else [],
            },
            **_of_a_driver(name),
        )
    return Path(context.address_info["session_dir"])


def _of_a_driver(name: str) -> dict[str, Any]:
    """What Ray is told of this process, wherever the cluster is."""
    import ray
    from ray.job_config import JobConfig

    # A submitted job has the metadata that it was submitted with, its name among it by `rayjobs submit`.
    config = JobConfig() if in_submitted_job() else JobConfig(metadata={"name": name})
    config._py_driver_sys_path = _OwnPath()
    # Ray prints what its raylet says of workers that end, whatever `log_to_driver` says; it stands in Ray's logs too,
    # and the job tells what it means. The thread that would print it leaves at once when it is told to before.
    ray._private.worker.global_worker.threads_stopped.set()
    return {"namespace": NAMESPACE, "log_to_driver": False, "logging_level": logging.ERROR, "job_config": config}


def _watch_agents() -> subprocess.Popen[bytes] | None:
    import ray

    node = ray._private.worker._global_node
    raylets = node.all_processes.get(ray._private.ray_constants.PROCESS_TYPE_RAYLET, [])
    return watch_children(raylets[0].process.pid) if raylets else None


class _OwnPath(list[str]):
    """Where workers look for modules before anywhere else, as Ray tells them.

    Ray adds the current directory and the script's, whether the driver looks there or not; this takes those alone where
    it does: what the user put on its path, and a program of theirs.
    """

    def extend(self, directories: Iterable[str]) -> None:
        own = {os.path.abspath(entry) for entry in sys.path}
        super().extend(directory for directory in directories if os.path.abspath(directory) in own)


def _check_reachable(address: str) -> None:
    """Ray itself waits for minutes before it says that nobody answers."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdigit():
        return  # "auto", "local" or a name of Ray's own
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except OSError as error:
        raise JobError(_unreachable(address, error)) from error


def _describe(directory: Path | None) -> Cluster:
    import ray

    resources = ray.cluster_resources()
    return Cluster(
        id=ray.get_runtime_context().get_session_name(),
        cpus=int(resources.get("CPU", 0)),
        directory=directory,
        declared=frozenset(name for name in STAGE_RESOURCES if resources.get(name, 0) >= 1),
    )


def decide_authentication(*, embedded: bool, kept: KeptRay | None = None) -> None:
    """Set ``RAY_AUTH_MODE`` unless the user did: a token that only this run knows, or the cluster's if there is one.

    A Ray that is kept has its own token, whatever the user decided on others.
    """
    if "ray" in sys.modules:
        return
    if embedded or kept:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # by which Ray listens on the loopback alone
    if kept is not None:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=kept.token)
        return
    if "RAY_AUTH_MODE" in os.environ:
        return
    if embedded:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        return
    has_token = (
        "RAY_AUTH_TOKEN" in os.environ
        or "RAY_AUTH_TOKEN_PATH" in os.environ
        or os.path.isfile(os.path.expanduser("~/.ray/auth_token"))
    )
    os.environ["RAY_AUTH_MODE"] = "token" if has_token else "disabled"


def _settings_of_ray() -> None:
    """What Ray and Ray Data read when they are imported, unless the user decided; and where their logs go.

    The driver's terminal belongs to the job's own progress; Ray's logs stay in its session directory. For every
    session: ``ray.data`` sets up its logger anew when it is first imported, which may be after the first one.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # a thread that outlives the session must start no Ray
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    logging.getLogger("ray.widgets").setLevel(logging.WARNING)  # in notebooks, that it would like to have ipywidgets


def _unreachable(address: str | None, error: Exception) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if address is None:
        variable, directory = temporary_directory(os.environ)
        if isinstance(error, OSError) and str(error.filename or "").startswith(directory):
            where = f"{error.filename}: {error.strerror}; set {variable} to a directory of yours"
            return f"Ray can't start on this machine: {where}"
        where = f"its logs: {directory}/ray/session_latest/logs"
        return f"Ray can't start on this machine: {first}; {where}; `rayjobs doctor` looks for the cause"
    if address != cluster_address():
        return f"the Ray that `rayjobs up` keeps at {address} can't be used: {first}; end it: rayjobs down"
    return f"the Ray cluster at RAY_ADDRESS={address} can't be used: {first}; check the address and RAY_AUTH_TOKEN"
