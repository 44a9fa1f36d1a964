"""The end of this process' connection to Ray, also when Ray itself is dead."""

from __future__ import annotations

import atexit
import os
import socket
import sys

import ray

CONNECT_S = 1.0

_abandoned: list[int] = []
"""The exit code of this process, whose connection was left as it was when Ray had died; empty while it wasn't."""


def disconnect() -> None:
    """End the connection, and the cluster that was started for it.

    Ray says goodbye to its control service (GCS) first. Where that is dead, it would wait, and end this process after
    60 s; where the raylet is, threads of Ray Data's still wait for it, and Ray's library ends the process at once when
    they use it after the goodbye. So what belongs to an embedded cluster is ended without a word then. Ray's library
    doesn't survive the interpreter's own end in that state, so this process ends without it, with 1 or what
    ``leave_with`` says. Nothing is left to do where the program has ended the connection itself.
    """
    if not ray.is_initialized():
        return
    node = ray._private.worker._global_node
    raylet_answers = node is None or answers((node.node_ip_address, node.node_manager_port))
    if raylet_answers and answers(gcs_address()):
        ray.shutdown()
        return
    atexit.unregister(ray.shutdown)
    atexit.register(_leave_at_once)
    _abandoned.append(1)
    if node is not None:
        node.kill_all_processes(check_alive=False, allow_graceful=False)


def _leave_at_once() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_abandoned[-1])


def is_abandoned() -> bool:
    """Whether Ray died under this process, which has a connection to nothing since then, and can't have another."""
    return bool(_abandoned)


def leave_with(code: int) -> None:
    """Let this process end with that exit code, whatever has become of Ray."""
    if _abandoned:
        _abandoned.append(code)


def gcs_address() -> tuple[str, int]:
    """Where the control service listens."""
    host, _, port = str(ray.get_runtime_context().gcs_address).rpartition(":")
    return host.strip("[]"), int(port)


def answers(address: tuple[str, int]) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection(address, timeout=CONNECT_S).close()
    except OSError:
        return False
    return True
