"""What the commands share: exit codes, and how the end of a job is printed."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from pipelines.quantity_texts import duration_text
from rayjobs.command_line.exit_codes import EXIT_FAILURES, EXIT_INTERRUPTED, EXIT_OK
from rayjobs.job.job_state import COMPLETE, JobState, JobStatus
from rayjobs.job.output_directory import OutputDirectory


def exit_code(state: JobState) -> int:
    """What a run that ended in this state tells the shell."""
    if state.status in COMPLETE:
        return EXIT_OK if state.within_limit else EXIT_FAILURES
    return EXIT_FAILURES if state.status is JobStatus.FAILED else EXIT_INTERRUPTED


def print_end(state: JobState, output: OutputDirectory) -> None:
    print(_nothing_to_do(state) if state.unchanged else summary(state))
    for reason, count in state.reasons.items():
        print(f"  {count:>6,}  {reason}")
    if state.unmatched:
        print(f"unmatched: {state.unmatched:,} inputs, whose path `groups` doesn't match; job.json lists them")
    if state.status in COMPLETE:
        print(f"report:   {output.report}")
        print(f"manifest: {output.manifest}")
        if state.kept:
            text = f"{state.kept:,} file{'s' * (state.kept != 1)} that the job made and doesn't want any more"
            print(f"kept:     {text}; `rayjobs prune {_quoted(output.root)}` lists them")
    else:
        if state.error:
            print(f"  {state.error}")
        print(f"go on with: rayjobs resume {_quoted(output.root)}")


def _nothing_to_do(state: JobState) -> str:
    text = f"{state.name}: nothing to do; {state.done:,} were done before{_not_done(state)}"
    if state.started and state.finished and state.finished > state.started:
        text += f" (in {duration_text(state.finished - state.started)})"
    return text


def _not_done(state: JobState) -> str:
    counted = ((state.failed, "failed"), (state.skipped, "skipped"))
    return "".join(f", {count:,} {what}" for count, what in counted if count)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def summary(state: JobState) -> str:
    text = f"{state.name}: {state.status.replace('_', ' ')}: {state.done:,} of {state.total:,} done{_not_done(state)}"
    if state.started and state.finished and state.finished > state.started:
        text += f" in {duration_text(state.finished - state.started)}"
    if state.known:
        text += f"; {state.known:,} analys{'is' if state.known == 1 else 'es'} from the cache"
    return text


def print_json(value: Any) -> None:
    # where the encoding has not every letter, JSON has its own way to spell them
    escaped = (sys.stdout.encoding or "utf-8").lower() not in ("utf-8", "utf8")
    text = json.dumps(value, ensure_ascii=escaped)
    print(text, flush=True)
