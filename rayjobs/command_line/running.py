"""The commands that run a job or steer one that runs."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from actors.ledger.job_registry import job_id_of
from pipelines.errors import JobError, RayjobsError
from pipelines.kernel_cache import unusual_place
from rayjobs.command_line.exit_codes import EXIT_INTERRUPTED, EXIT_OK
from rayjobs.command_line.printing import exit_code, print_end, print_json, summary
from rayjobs.command_line.program import outlive_the_terminal
from rayjobs.job.job_file import load_job
from rayjobs.job.job_state import TERMINAL, JobStatus, find_output, read_state
from rayjobs.job.output_directory import CANCEL, PAUSE, OutputDirectory
from rayjobs.job.wishes import idle_wishes
from rayjobs.run.display import CommandDisplay, open_display
from rayjobs.run.kept_ray import unused_ray
from rayjobs.run.last_words import explained
from rayjobs.run.notify import event_of, named, targets_of_command_line, tell
from rayjobs.run.progress import STOPPING_NOW
from rayjobs.run.ray_address import in_submitted_job
from rayjobs.run.run import InterruptedBySignalError, run_job
from rayjobs.run.run_request import RunRequest, request_of, stored_request
from rayjobs.run.signals import stopping_on_signals
from rayjobs.run.stopped_run import set_stopped

STOP_WAIT_S = 60.0


# ---- running -----------------------------------------------------------------------------------------------------


def run(arguments: argparse.Namespace) -> int:
    """``rayjobs run``."""
    return _run(run_request(arguments), arguments)


def resume(arguments: argparse.Namespace) -> int:
    """``rayjobs resume``."""
    return _run(stored_request(find_output(arguments.job)), arguments)


def retry_failed(arguments: argparse.Namespace) -> int:
    """``rayjobs retry-failed``."""
    request = stored_request(find_output(arguments.job))
    return _run(replace(request, retry=tuple(arguments.reason)), arguments)


def submit(arguments: argparse.Namespace) -> int:
    """``rayjobs submit``."""
    from rayjobs.command_line.ray_submit import submit_job

    request = run_request(arguments)
    targets_of_command_line([where for where in arguments.notify if "://" in where], arguments.notify_commands)
    options = [part for name in arguments.allowed for part in ("--allow-plugin", name)]
    options += [part for where in arguments.notify for part in ("--notify", where)]
    options += [part for text in arguments.notify_commands for part in ("--notify-command", text)]
    submitted = submit_job(request, address=arguments.address, options=options, wait=arguments.wait)
    if arguments.json:
        print_json({"job_id": submitted.job_id, "submission_id": submitted.submission_id})
    else:
        print(submitted.job_id)
    return submitted.exit_code


def run_request(arguments: argparse.Namespace) -> RunRequest:
    base: Path = (arguments.base or arguments.file.parent).resolve()
    spec = load_job(arguments.file, base=base)
    if getattr(arguments, "priority", None):
        spec = spec.model_copy(update={"priority": arguments.priority})
    output: Path | None = arguments.output
    chosen = output or Path(spec.output)
    if in_submitted_job() and not chosen.is_absolute():
        raise JobError(
            f"output {chosen}: inside of a Ray job a relative output would land in a disposable copy of the working "
            "directory; give --output with an absolute path, or use `rayjobs submit`"
        )
    return request_of(spec, base, output)


def _run(request: RunRequest, arguments: argparse.Namespace) -> int:
    """Run to the end, print that, and only then tell others."""
    also = targets_of_command_line(arguments.notify, arguments.notify_commands)
    try:
        named(request.spec.notify)
    except RayjobsError as error:  # a job file of somebody else: it runs as well
        print(f"rayjobs: warning: {error}", file=sys.stderr)
    event: dict[str, Any] = {}
    try:
        code = _run_to_end(request, event, as_json=arguments.json)
    finally:
        try:
            for problem in tell(request.spec.notify, event, also=also) if event else ():
                print(f"rayjobs: warning: {problem}", file=sys.stderr)
        except KeyboardInterrupt:  # whoever waits for it may go; the job has ended as it has
            print("rayjobs: warning: not everybody was told", file=sys.stderr)
    if event.get("status") == JobStatus.CANCELLED:
        _stopped_in_ray()
    return code


def _stopped_in_ray() -> None:
    """Let Ray show a cancelled job that was submitted to it as STOPPED; it would take the exit code for FAILED."""
    if not in_submitted_job():
        return
    from rayjobs.command_line.ray_submit import stop_own_job

    try:
        stop_own_job()
    except RayjobsError as error:
        print(f"rayjobs: warning: Ray will show this job as FAILED: {error}", file=sys.stderr)


def _run_to_end(request: RunRequest, event: dict[str, Any], *, as_json: bool) -> int:
    outlive_the_terminal()
    unusual = unusual_place()
    if unusual is not None:
        print(f"rayjobs: {unusual}", file=sys.stderr)
    unused = unused_ray()
    if unused is not None:
        print(f"rayjobs: note: the Ray that `rayjobs up` keeps isn't used: {unused}", file=sys.stderr)
    display = open_display(quiet=as_json)
    interrupted = _Interrupted(display)
    for wish in idle_wishes(request.spec):
        print(f"rayjobs: note: {wish}", file=sys.stderr)
    try:
        with stopping_on_signals(interrupted):
            state = run_job(request, display, interrupted)
    except InterruptedBySignalError as error:
        display.close()
        print(f"rayjobs: {error}", file=sys.stderr)
        found = _state_after(error, JobStatus.INTERRUPTED, request)
        event |= event_of(found)
        if as_json:
            print_json(found)
        return EXIT_INTERRUPTED
    except Exception as error:
        told = explained(error)
        found = _state_after(told, JobStatus.FAILED, request)
        event |= event_of(found)
        if as_json:
            print_json(found)
        raise told from error
    finally:
        display.close()
    event |= event_of(state.to_json())
    if as_json:
        print_json(state.to_json())
    else:
        print_end(state, OutputDirectory(request.output))
    return exit_code(state)


class _Interrupted(threading.Event):
    """Set by Ctrl-C or SIGTERM, and again by another Ctrl-C; whoever looks is told at once that it was seen."""

    def __init__(self, display: CommandDisplay) -> None:
        super().__init__()
        self._display = display

    def set(self) -> None:
        if self.is_set():
            self._display.stopping(STOPPING_NOW)
            return
        super().set()
        self._display.stopping()


def _state_after(error: RayjobsError, status: JobStatus, request: RunRequest) -> dict[str, Any]:
    """How a job stands whose run came to no end of its own: as its output says, if that says anything, and why."""
    name, output = request.spec.name, OutputDirectory(request.output)
    try:
        found = read_state(output).to_json()
    except RayjobsError:
        nothing = dict.fromkeys(("total", "done", "failed", "skipped"), 0)
        job_id = job_id_of(name, request.output)
        found = {"job_id": job_id, "name": name, "status": str(status), **nothing, "output": str(output.root)}
    return found | {"error": str(error)}


# ---- stopping ----------------------------------------------------------------------------------------------------


def cancel(arguments: argparse.Namespace) -> int:
    """``rayjobs cancel``."""
    return _stop(arguments, CANCEL, JobStatus.CANCELLED)


def pause(arguments: argparse.Namespace) -> int:
    """``rayjobs pause``."""
    return _stop(arguments, PAUSE, JobStatus.PAUSED)


def _stop(arguments: argparse.Namespace, request: str, target: JobStatus) -> int:
    output = find_output(arguments.job)
    if output.running:
        output.request(request)
        deadline = time.monotonic() + STOP_WAIT_S
        while output.running and time.monotonic() < deadline:
            time.sleep(0.1)
        if output.running:
            raise JobError(f"{output.root}: asked to {request}, but still ending after {STOP_WAIT_S:.0f} s")
        output.clear_requests()  # it may have ended before it looked
    elif read_state(output).status not in TERMINAL:
        set_stopped(output, target)
    state = read_state(output)
    if arguments.json:
        print_json(state.to_json())
    else:
        print(summary(state))
    return EXIT_OK


def results(arguments: argparse.Namespace) -> int:
    """``rayjobs results``."""
    from rayjobs.run.asked_results import results_of

    found = results_of(find_output(arguments.job))
    if arguments.json:
        print_json(found.to_json())
    else:
        print(found.path)
    return EXIT_OK


def set_priority(arguments: argparse.Namespace) -> int:
    """``rayjobs priority``."""
    output = find_output(arguments.job)
    if not output.running:
        raise JobError(f"{output.root}: isn't running; start it with `rayjobs run ... --priority {arguments.priority}`")
    output.request_priority(arguments.priority)
    if arguments.json:
        print_json({**read_state(output).to_json(), "priority": arguments.priority})
    else:
        print(f"{read_state(output).name}: its priority is {arguments.priority} from now on")
    return EXIT_OK
