"""The commands that only look: the plan, the state of jobs, the attempts of inputs, the report."""

from __future__ import annotations

import argparse
import time
from typing import Any

from pipelines.errors import JobError
from pipelines.tables import printable, readable_path
from rayjobs.command_line.display import open_display
from rayjobs.command_line.exit_codes import EXIT_OK
from rayjobs.command_line.printing import exit_code, print_end, print_json, summary
from rayjobs.command_line.program import nobody_listens
from rayjobs.command_line.running import run_request
from rayjobs.job.job_state import find_output, read_state
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.run.progress import Rate, Snapshot

WATCH_INTERVAL_S = 0.5


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
    state = read_state(output)
    if arguments.json:
        print_json(state.to_json())
        return EXIT_OK
    print(summary(state))
    print(f"  {state.job_id}  {output.root}")
    for reason, count in state.reasons.items():
        print(f"  {count:>6,}  {reason}")
    if state.error:
        print(f"  {state.error}")
    return EXIT_OK


def watch(arguments: argparse.Namespace) -> int:
    """``rayjobs watch``."""
    output = find_output(arguments.job)
    display, rate = open_display(quiet=arguments.json), Rate()
    try:
        while True:
            state = read_state(output)
            if arguments.json:
                print_json(state.to_json())
            finished = state.done + state.failed + state.skipped
            speed = rate.update(finished, time.monotonic())
            display.show(Snapshot.of(state.name, state.status, state, rate=speed))
            if not output.running or nobody_listens():
                break
            time.sleep(WATCH_INTERVAL_S)
    finally:
        display.close()
    if not arguments.json:
        print_end(state, output)
    return exit_code(state)


def list_jobs(arguments: argparse.Namespace) -> int:
    """``rayjobs list``."""
    from actors.ledger.job_registry import JobRegistry

    rows: list[dict[str, Any]] = []
    for job in JobRegistry().jobs():
        output = OutputDirectory(job.output)
        listed = {"job_id": job.job_id, "name": job.name, "output": str(job.output)}
        if not output.exists:
            rows.append({**listed, "status": "removed"})
            continue
        try:
            rows.append(read_state(output).to_json())
        except JobError:  # of another version, or damaged: `status` says what is wrong; the others are listed
            rows.append({**listed, "status": "unreadable"})
    if arguments.json:
        print_json(rows)
        return EXIT_OK
    for row in rows:
        counts = f"{row['done']:,}/{row['total']:,}" if "total" in row else ""
        print(f"{row['job_id']:<32} {row['status']:<24} {counts:>15}  {row['output']}")
    if not rows:
        print("no jobs yet; `rayjobs init` writes an example job file")
    return EXIT_OK


def history(arguments: argparse.Namespace) -> int:
    """``rayjobs history``."""
    output = find_output(arguments.job)
    ledger = output.read_ledger()
    try:
        for attempt in ledger.attempts():
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
    print(output.report)
    if arguments.open:
        import webbrowser

        webbrowser.open(output.report.as_uri())
    return EXIT_OK
