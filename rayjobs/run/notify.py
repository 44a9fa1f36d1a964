"""Tell somebody that a run has ended: an HTTP POST, a command, a callback, and always an event in the log.

Whoever is told is defined in the user's settings or on the command line; a job file only names them. It happens after
the run, when its state is durable and its lock is given back: whatever goes wrong here is a warning, never a failure.
All are told side by side in bounded time, redirects aren't followed, no shell is started, and nothing that anybody
answers is read.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from pipelines.errors import RayjobsError
from pipelines.registry import nearest
from pipelines.retry_rules import NOTIFICATION
from rayjobs.run.settings import Command, SettingsError, Webhook, read_settings, settings_path

EVENTS = "rayjobs.events"
"""Logger that gets one line of JSON for each run that ended, at level INFO."""
LONGEST_ERROR = 2_000
"""Characters."""

Event = Mapping[str, Any]
Callback = Callable[[Event], None]
Target = Webhook | Command

log = logging.getLogger(__name__)


def targets_of_command_line(wheres: Iterable[str], commands: Iterable[str]) -> list[Target]:
    """What ``--notify`` (a URL, or a name of the settings) and ``--notify-command`` say.

    Raises
    ------
    RayjobsError
        One of them is neither.
    """
    found: list[Target] = []
    for where in wheres:
        if "://" not in where:
            found += named([where])
            continue
        try:
            found.append(Webhook(url=where))
        except ValidationError as error:
            raise RayjobsError(f"--notify: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error
    for text in commands:
        try:
            found.append(Command(command=shlex.split(text)))
        except ValueError as error:  # ValidationError is one as well
            raise RayjobsError(f"--notify-command: {text!r} is no command") from error
    return found


def named(names: Sequence[str]) -> list[Target]:
    """What the user's settings define under these names.

    Raises
    ------
    SettingsError
        The settings can't be read, or lack a name.
    """
    if not names:
        return []
    defined = read_settings().notify
    for name in names:
        if name not in defined:
            raise SettingsError(f"notify: {name!r} isn't defined in {settings_path()}{nearest(name, defined)}")
    return [defined[name] for name in names]


def event_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON that everybody is told: what ``rayjobs run --json`` prints last, and what happened."""
    error = found.get("error")
    return {"event": "job_ended", **found, **({"error": str(error)[:LONGEST_ERROR]} if error else {})}


def tell(
    names: Sequence[str], event: Event, *, also: Iterable[Target] = (), callbacks: Iterable[Callback] = ()
) -> list[str]:
    """Tell everybody, trying again where it fails; what went wrong for good, in a line each. Never raises."""
    body = json.dumps(event, default=str)
    logging.getLogger(EVENTS).info("%s", body)
    problems: list[str] = []
    for callback in callbacks:
        try:
            callback(event)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - foreign code; the job has ended well or badly without it
            problems.append(f"notify: a callback raised {type(error).__name__}: {error}")
    targets = list(also)
    for name in dict.fromkeys(names):
        try:
            targets += named([name])
        except RayjobsError as error:
            problems.append(f"{error}; nobody was told there")
    deadline = time.monotonic() + NOTIFICATION.within_s
    threads = [
        threading.Thread(target=_try, args=(target, body.encode(), deadline, problems), daemon=True)
        for target in targets
    ]
    for thread in threads:
        thread.start()
    for thread, target in zip(threads, targets, strict=True):
        thread.join(max(deadline - time.monotonic(), 0.0))
        if thread.is_alive():  # a server that answers a letter at a time
            problems.append(f"notify: {target.shown} wasn't told within {NOTIFICATION.within_s:g} s")
    for problem in problems:
        log.warning("%s", problem)
    return problems


def _try(target: Target, body: bytes, deadline: float, problems: list[str]) -> None:
    for failed in range(1, NOTIFICATION.tries + 1):
        try:
            problem = _post(target, body) if isinstance(target, Webhook) else _run(target, body)
        except Exception as error:  # noqa: BLE001 - of networks and programs; whatever it is, the job has ended
            problem = f"{type(error).__name__}: {error}"
        if problem is None:
            return
        pause_s = NOTIFICATION.pause_s(failed)
        if failed == NOTIFICATION.tries or time.monotonic() + pause_s + NOTIFICATION.patience_s > deadline:
            problems.append(f"notify: {target.shown}: {problem}; tried {failed} times")
            return
        time.sleep(pause_s)


def _post(hook: Webhook, body: bytes) -> str | None:
    """Send it; why it wasn't taken."""
    from http.client import HTTPConnection, HTTPSConnection
    from urllib.parse import urlsplit

    parts = urlsplit(hook.url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=NOTIFICATION.patience_s)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json", **hook.headers})
        status = connection.getresponse().status
    finally:
        connection.close()
    return None if 200 <= status < 300 else f"answered {status}"


def _run(command: Command, body: bytes) -> str | None:
    """Start it with the event as its input; why that failed."""
    import subprocess

    process = subprocess.Popen(
        command.command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.communicate(body, timeout=NOTIFICATION.patience_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with whatever it started
        process.wait()
        return f"took longer than {NOTIFICATION.patience_s:g} s"
    return None if process.returncode == 0 else f"ended with exit code {process.returncode}"
