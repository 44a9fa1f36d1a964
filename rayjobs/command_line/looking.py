"""The commands that only look: the plan, the state of jobs, the attempts of inputs, the report."""

from __future__ import annotations

import argparse
import time
from contextlib import closing
from typing import Any

from actors.ledger.job_ledger import JobLedger
from pipelines.errors import JobError
from pipelines.quantity_texts import size_text
from pipelines.tables import printable, readable_path
from rayjobs.command_line.exit_codes import EXIT_OK
from rayjobs.command_line.printing import exit_code, print_end, print_json, summary
from rayjobs.command_line.program import nobody_listens
from rayjobs.command_line.running import run_request
from rayjobs.job.job_state import JobStatus, find_output, state_of
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.run.display import open_display
from rayjobs.run.kept_ray import kept_ray
from rayjobs.run.progress import LEAST_RATE_S, Snapshot, numbers_text, watched

RECENT_S = 30.0
"""The rate of a running job is that of so many seconds."""


# ---- looking -----------------------------------------------------------------------------------------------------


def plan(arguments: argparse.Namespace) -> int:
    """``rayjobs plan``."""
    from rayjobs.run.dry_run import dry_run

    outlook = dry_run(run_request(arguments))
    if arguments.json:
        print_json(outlook.to_json())
    else:
        print("\n".join(outlook.lines()))
    return EXIT_OK


def status(arguments: argparse.Namespace) -> int:
    """``rayjobs status``."""
    output = find_output(arguments.job)
    with closing(output.read_ledger()) as ledger:
        state = state_of(ledger, output)
        rate = _rate_of(ledger, time.time()) if state.status is JobStatus.RUNNING else None
        failure = ledger.attempts.last_failure()
    snapshot = Snapshot.of(state.name, state.status, state, rate=rate)
    if arguments.json:
        found: dict[str, Any] = {"images_per_second": snapshot.rate, "seconds_left": snapshot.eta_s}
        found["last_failure"] = failure and {**failure.to_json(), "input": readable_path(failure.path)}
        print_json(state.to_json() | {key: value for key, value in found.items() if value is not None})
        return EXIT_OK
    print(summary(state))
    if state.status is JobStatus.RUNNING:
        print(f"  {numbers_text(snapshot)}")
    print(f"  {state.job_id}  {output.root}")
    for reason, count in state.reasons.items():
        print(f"  {count:>6,}  {reason}")
    if failure is not None:
        said = f"{failure.reason}: {printable(failure.message or '')}"
        print(f"  last failure: {printable(readable_path(failure.path))}: {said}")
    if state.error:
        print(f"  {state.error}")
    return EXIT_OK


def _rate_of(ledger: JobLedger, now: float) -> float | None:
    """Images per second of the last half minute, or since the run's first image; None when that says nothing."""
    count, first = ledger.attempts.done_since(now - RECENT_S, epoch=ledger.facts.read().epoch)
    if first is None or now - first < LEAST_RATE_S:
        return None
    return count / (now - first)


def watch(arguments: argparse.Namespace) -> int:
    """``rayjobs watch``."""
    output = find_output(arguments.job)
    display = open_display(quiet=arguments.json)
    try:
        for state, snapshot in watched(output):
            if arguments.json:
                print_json(state.to_json())
            display.show(snapshot)
            if nobody_listens():
                break
    finally:
        display.close()
    if not arguments.json:
        print_end(state, output)
    return exit_code(state)


def list_jobs(arguments: argparse.Namespace) -> int:
    """``rayjobs list``."""
    from actors.ledger.job_registry import JobRegistry

    rows: list[dict[str, Any]] = []
    removed = 0
    for job in JobRegistry().jobs():
        output = OutputDirectory(job.output)
        listed = {"job_id": job.job_id, "name": job.name, "output": str(job.output), "first_run": job.submitted}
        if not output.exists:
            removed += 1
            if arguments.all:
                rows.append({**listed, "status": "removed"})
            continue
        try:
            with closing(output.read_ledger()) as ledger:
                rows.append({**listed, **state_of(ledger, output).to_json(), "bytes": ledger.written_bytes()})
        except JobError:  # of another version, or damaged: `status` says what is wrong; the others are listed
            rows.append({**listed, "status": "unreadable"})
    if arguments.json:
        print_json(rows)
        return EXIT_OK
    for row in rows:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(row.get("started") or row["first_run"]))
        counts = f"{row['done']:,} of {row['total']:,}" if "total" in row else ""
        said = row["status"].replace("_", " ")
        size = size_text(row["bytes"]) if "bytes" in row else ""
        print(f"{when}  {row['job_id']:<32} {said:<23} {counts:>17} {size:>9}  {printable(row['output'])}")
    if not rows:
        print("no jobs yet; `rayjobs init` writes an example job file")
    if removed and not arguments.all:
        print(f"and {removed:,} whose output was removed: `rayjobs list --all`")
    kept = kept_ray()
    if kept is not None:
        print(f"Ray is up: {kept.text()}")
    return EXIT_OK


def logs(arguments: argparse.Namespace) -> int:
    """``rayjobs logs``."""
    from rayjobs.command_line.ray_submit import printed_by

    found = printed_by(arguments.job, arguments.address)
    if arguments.json:
        print_json(found)
    else:
        print(found["log"], end="")
    return EXIT_OK


def history(arguments: argparse.Namespace) -> int:
    """``rayjobs history``."""
    output = find_output(arguments.job)
    ledger = output.read_ledger()
    try:
        for attempt in ledger.attempts.every():
            path = readable_path(attempt.path)
            if arguments.input and arguments.input not in path:
                continue
            if arguments.json:
                print_json({**attempt.to_json(), "input": path})
            else:
                when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(attempt.finished))
                text = f"{when}  run {attempt.epoch}  {attempt.outcome:<8} {attempt.seconds:7.2f} s  {printable(path)}"
                print(f"{text}  {attempt.reason}: {printable(attempt.message or '')}" if attempt.reason else text)
    finally:
        ledger.close()
    return EXIT_OK


def report(arguments: argparse.Namespace) -> int:
    """``rayjobs report``."""
    output = find_output(arguments.job)
    if not output.report.is_file():
        raise JobError(f"{output.root}: no report yet; it is written when the job completes")
    if arguments.json:
        print_json({"report": str(output.report), "url": output.report.as_uri()})
    else:
        print(output.report)
    if arguments.open:
        import webbrowser

        webbrowser.open(output.report.as_uri())
    return EXIT_OK
