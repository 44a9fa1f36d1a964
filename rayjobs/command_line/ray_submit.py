"""``rayjobs submit``: hand a job to a cluster through Ray's Jobs API.

The job travels resolved, as one small file with absolute paths, and with the directory that other texts in it are
relative to, so that it means the same wherever its driver starts.
The package itself is expected on the cluster's nodes (image or set-up commands, see ``cluster.yaml``).
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlparse
from urllib.request import Request, urlopen

from actors.ledger.job_registry import JobRegistry, job_id_of
from pipelines.errors import JobError
from pipelines.retry_rules import SUBMISSION
from rayjobs.command_line.doctor import authentication_of
from rayjobs.command_line.exit_codes import EXIT_INTERRUPTED, EXIT_OK, EXIT_PROBLEM
from rayjobs.job.job_state import read_state
from rayjobs.job.job_tasks import planned_tasks
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.job.path_spelling import spelled
from rayjobs.run.ray_session import decide_authentication
from rayjobs.run.run_request import RunRequest

STOP_WAIT_S = 30
"""Time that Ray gives a stopped job to release its work; Ray's own default of 3 s is too short for a large image."""
STOP_S = 10.0
ANSWER_S = 3.0
NOT_READY = "No available agent"
POLL_S = 1.0
JOB_FILE = "job.yaml"


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that the cluster has taken."""

    job_id: str
    """For ``rayjobs status`` and the like."""
    submission_id: str
    """For ``ray job logs`` and the like."""
    exit_code: int
    """Of the job, if it was waited for; else 0."""


def submit_job(request: RunRequest, *, address: str, options: Sequence[str] = (), wait: bool = False) -> Submitted:
    """Submit a job; with ``wait``, follow its log to standard error until it ends.

    ``options`` are further ones of ``rayjobs run``, which is what starts there.

    Raises
    ------
    JobError
        The cluster can't be reached or refuses the job.
    """
    from ray.exceptions import RayError

    client = _client(address)
    job_id = job_id_of(request.spec.name, request.output)
    submission_id = f"{job_id}-{time.time_ns():x}"
    arguments = ["run", JOB_FILE, "--base", str(request.base), "--output", str(request.output), *options]
    try:
        with tempfile.TemporaryDirectory(prefix="rayjobs-submit-") as directory:
            text = json.dumps(resolved_job(request), indent=2)
            (Path(directory) / JOB_FILE).write_text(text, encoding="utf-8")
            _submit(
                client,
                entrypoint=shlex.join(["python", "-m", "rayjobs", *arguments]),
                submission_id=submission_id,
                runtime_env={"working_dir": directory, "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)}},
                metadata={"name": request.spec.name, "job_id": job_id},
            )
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise JobError(f"{address}: {_first_line(error)}; check the address and RAY_AUTH_TOKEN") from error
    JobRegistry().add(job_id, request.spec.name, request.output)
    try:
        code = _follow(client, submission_id) if wait else EXIT_OK
    except (OSError, RuntimeError, RayError) as error:
        raise JobError(
            f"{address}: {_first_line(error)}; the job may go on there: `rayjobs status {job_id}`"
        ) from error
    return Submitted(job_id, submission_id, code)


def stop_own_job() -> None:
    """Have Ray stop the job whose driver this process is, and wait for its signal, which ends this process.

    A driver can't say that it was stopped: Ray 2.60 takes 0 for SUCCEEDED and any other exit code for FAILED, unless
    somebody asks its API to stop the job before the driver has ended.

    Raises
    ------
    JobError
        The API can't be reached or refuses, or no signal came.
    """
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    job = json.loads(os.environ["RAY_JOB_CONFIG_JSON_ENV_VAR"])["metadata"]["job_submission_id"]
    try:
        JobSubmissionClient().stop_job(job)  # of the cluster of RAY_ADDRESS, which Ray sets for drivers of jobs
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise JobError(_first_line(error)) from error
    time.sleep(STOP_S)
    raise JobError(f"it was asked to stop the job, and hasn't within {STOP_S:g} s")


def printed_by(job: str, address: str | None) -> dict[str, Any]:
    """What the latest submission of a job printed, as the cluster has it; ``job`` is its output, id or name.

    Raises
    ------
    JobError
        The cluster can't be reached, or knows no submission of the job.
    """
    given = address or os.environ.get("RAY_API_SERVER_ADDRESS")
    if given is None:
        text = "give the --address of the cluster's dashboard (head:8265); what became of its inputs: `rayjobs history`"
        raise JobError(f"{job}: {text}")
    from ray.exceptions import RayError

    path = Path(job).expanduser()
    job_id = read_state(OutputDirectory(path)).job_id if OutputDirectory(path).exists else job
    client = _client(given)
    try:
        found = [
            each
            for each in client.list_jobs()
            if each.metadata and job_id in (each.metadata.get("job_id"), each.metadata.get("name"), each.submission_id)
        ]
        if not found:
            raise JobError(f"{given}: no submission of {job!r} is known there")
        latest = max(found, key=lambda each: each.start_time or 0)
        log = client.get_job_logs(latest.submission_id)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise JobError(f"{given}: {_first_line(error)}") from error
    return {"submission_id": latest.submission_id, "status": str(latest.status), "log": log}


def _client(address: str) -> Any:
    """Ray's client of a cluster that answers, and that takes the token that there is, or needs none."""
    finding = authentication_of(address)
    if finding.verdict != "ok":
        sys.stderr.write(f"rayjobs: warning: {finding.text}\n")
    decide_authentication(embedded=False)
    url = address if "://" in address else f"http://{address}"
    _check_answers(url)
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(url)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise JobError(f"{address}: {_first_line(error)}; check the address and RAY_AUTH_TOKEN") from error


def _check_answers(url: str) -> None:
    """Ray's client waits for minutes, and says many lines, where nobody answers or a token is missing."""
    from ray._private.authentication.http_token_authentication import get_auth_headers_if_auth_enabled

    if urlparse(url).scheme not in ("http", "https"):
        raise JobError(f"{url}: give the address of the cluster's dashboard, such as http://head:8265")
    try:
        headers = get_auth_headers_if_auth_enabled({})
    except RuntimeError as error:
        raise JobError(f"{url}: {_first_line(error)}") from error
    try:
        urlopen(Request(f"{url.rstrip('/')}/api/version", headers=headers), timeout=ANSWER_S).close()
    except HTTPError as error:
        if error.code not in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return  # what else is wrong the client says
        what = "the token isn't this cluster's" if headers else "the cluster asks for a token"
        raise JobError(f"{url}: {what}; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH") from error
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        text = f"nobody answers ({reason}); give the address of the cluster's dashboard, such as head:8265"
        raise JobError(f"{url}: {text}") from error


def _submit(client: Any, **job: Any) -> None:
    """Submit, waiting for a cluster that has just started: its agents come up after its dashboard."""
    deadline = time.monotonic() + SUBMISSION.within_s
    while True:
        try:
            client.submit_job(**job)
        except RuntimeError as error:
            if NOT_READY not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(SUBMISSION.first_pause_s)
        else:
            return


def resolved_job(request: RunRequest) -> dict[str, Any]:
    """The job as a job file with absolute paths, for a driver that starts in another directory, and as another user.

    Only what may mean more than one path stays relative: patterns to exclude, and cells of tables.
    """
    job = request.spec.model_dump(mode="json")
    job["inputs"] = [_absolute_input(source, request.base) for source in job["inputs"]]
    job["exclude"] = [_absolute(each, request.base) if each.startswith("~") else each for each in job["exclude"]]
    job["output"] = str(request.output)
    tasks = planned_tasks(request.spec, request.base, request.output)
    job["tasks"] = [{task.task_type: dict(task.config)} for task in tasks]
    return job


def _absolute_input(source: str | dict[str, Any], base: Path) -> str | dict[str, Any]:
    if isinstance(source, str):
        return _absolute(source, base)
    return {**source, **{key: _absolute(source[key], base) for key in ("table", "base") if source[key] is not None}}


def _absolute(pattern: str, base: Path) -> str:
    marker = "@" if pattern.startswith("@") else ""
    start, rest = spelled(pattern.removeprefix("@"), what="submit", base=os.fsencode(base))
    return marker + os.fsdecode(os.path.join(start, rest))


def _follow(client: Any, submission_id: str) -> int:
    printed = 0
    while True:
        ended = client.get_job_status(submission_id).is_terminal()
        log = client.get_job_logs(submission_id)
        sys.stderr.write(log[printed:])
        printed = len(log)
        if ended:
            info = client.get_job_info(submission_id)
            if info.driver_exit_code is not None:
                return int(info.driver_exit_code)
            return {"SUCCEEDED": EXIT_OK, "STOPPED": EXIT_INTERRUPTED}.get(info.status, EXIT_PROBLEM)
        time.sleep(POLL_S)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
