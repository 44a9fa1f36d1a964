"""The command line: arguments in, one clear message or JSON out, an exit code back.

Covers parsing and dispatch; what a command does is in ``running``, ``looking``, ``upkeep``, ``keeping`` and
``reference``, which are imported only where an error is told like any other. Exit codes: 0 all done, or failures within
``max_failures``; 1 the job could not run; 2 finished, but more inputs failed, or an output isn't as it was published;
130 cancelled or interrupted.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from pipelines.errors import FailedReason, JobError
from rayjobs.command_line import completion, program, waiting
from rayjobs.command_line.exit_codes import EXIT_INTERRUPTED, EXIT_OK, EXIT_PROBLEM

ALLOW_VARIABLE = "RAYJOBS_ALLOW_PLUGINS"
"""Names of extensions that any job may use, with commas between."""

_WORKING = ("run", "resume", "retry_failed", "submit")
"""Commands whose exit code says how their work ended, even if nobody got to read it."""

Command = Callable[[argparse.Namespace], int]
PRIORITIES = ("urgent", "high", "normal", "low")

Add = Callable[[str, Command, str], argparse.ArgumentParser]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; ``argv`` None: as the program, with its process to itself."""
    if argv is None:
        gc.disable()  # what it imports stays: there is no garbage to look for in it, see ``_dispatch``
        program.drop_start_directory()
        program.begin_again()
        program.open_streams()
        waiting.show_waiting(sys.argv[1:])
    code = _guarded(argv)
    if argv is None and "rayjobs.run.ray_disconnect" in sys.modules:
        from rayjobs.run.ray_disconnect import leave_with

        leave_with(code)
    return code


def _guarded(argv: Sequence[str] | None) -> int:
    """Whatever happens is told in one line."""
    try:
        return _dispatch(argv)
    except KeyboardInterrupt:
        print("rayjobs: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last line of defence
        print(f"rayjobs: {_told(error)}", file=sys.stderr)
        return EXIT_PROBLEM


def _told(error: Exception) -> str:
    try:
        from rayjobs.run.last_words import explained

        return str(explained(error))
    except Exception:  # noqa: BLE001 - an installation so broken that it can't even tell
        return " ".join(f"{type(error).__name__}: {error}".split())


def _dispatch(argv: Sequence[str] | None) -> int:
    _check_current_directory()
    top = parser()
    if "_ARGCOMPLETE" in os.environ:  # the shell asks what may follow
        import argcomplete

        argcomplete.autocomplete(top)
    if argv is None:  # this is the program
        gc.freeze()
        gc.enable()
    arguments = _parsed(top, list(sys.argv[1:] if argv is None else argv))
    command: Command = arguments.command
    if hasattr(arguments, "allowed"):  # a submitted job is told them as well: its cluster has another environment
        arguments.allowed = [*arguments.allowed, *_allowed_by_environment()]
    from pipelines.extensions.extension_manager import process_extensions
    from pipelines.kernel_cache import keep_kernels

    keep_kernels()  # for this process, and for those that inherit its environment
    process_extensions().allow(getattr(arguments, "allowed", _allowed_by_environment()))
    code = command(arguments)
    lost = program.lost_output()
    if lost is None:
        return code
    print(f"rayjobs: {lost}", file=sys.stderr)
    return code if getattr(command, "__name__", "") in _WORKING else code or EXIT_PROBLEM


def _parsed(top: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    if words[:1] == ["help"]:  # as many programs have it
        words = [*words[1:], "--help"]
    arguments, unknown = top.parse_known_args(words)
    if unknown:
        from pipelines.registry import nearest

        options = arguments.parser._option_string_actions
        more = nearest(unknown[0], options) or f"; `{arguments.parser.prog} --help` says what there is"
        arguments.parser.exit(EXIT_PROBLEM, f"{arguments.parser.prog}: unknown argument {unknown[0]!r}{more}\n")
    return arguments


def _check_current_directory() -> None:
    """Ray and relative paths need one."""
    try:
        os.getcwd()
    except OSError as error:
        text = f"the current directory is gone ({error.strerror}); change to one that is there, then try again"
        raise JobError(text) from error


class _Parser(argparse.ArgumentParser):
    """2 means that inputs failed, or that files differ: a mistake on the command line is no such thing."""

    def error(self, message: str) -> NoReturn:
        unknown = _UNKNOWN.match(message)
        if unknown is None:
            self.print_usage(sys.stderr)
            self.exit(EXIT_PROBLEM, f"{self.prog}: {message}\n")
        from pipelines.registry import nearest

        where, word, choices = unknown.groups()
        known = [choice.strip(" '") for choice in choices.split(",")]
        what, all_of_them = ("command", "`rayjobs --help` lists them") if where == "COMMAND" else (where, "")
        more = nearest(word, known) or f"; {all_of_them or 'there are ' + ', '.join(known)}"
        self.exit(EXIT_PROBLEM, f"{self.prog}: unknown {what} {word!r}{more}\n")


_UNKNOWN = re.compile(r"argument (\S+): invalid choice: '(.*)' \(choose from (.*)\)")


def parser() -> argparse.ArgumentParser:
    """Every command with its arguments."""
    from rayjobs.command_line import reference

    top = _Parser(
        prog="rayjobs",
        description="Renders, analyses and exports image collections in parallel on Ray.",
        epilog="A first job: rayjobs init; rayjobs plan job.yaml; rayjobs run job.yaml",
    )
    top.add_argument("--version", action="version", version=reference.version_text())
    top.set_defaults(command=partial(_help, top), parser=top)
    subparsers = top.add_subparsers(metavar="COMMAND", title="commands")

    def add(name: str, command: Command, summary: str) -> argparse.ArgumentParser:
        sub = subparsers.add_parser(name, help=summary, description=summary)
        sub.set_defaults(command=command, parser=sub)
        return sub

    _add_running(add)
    _add_looking(add)
    _add_upkeep(add)
    _add_keeping(add)
    _add_references(add)
    return top


def _help(top: argparse.ArgumentParser, _: argparse.Namespace) -> int:
    top.print_help()
    return EXIT_OK


def _file(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
    file = sub.add_argument("file", type=Path, metavar="JOB.yaml", help="job file")
    completion.offers(file, completion.job_files)
    sub.add_argument("--output", type=Path, metavar="DIR", help="instead of the job file's output")
    sub.add_argument(
        "--base", type=Path, metavar="DIR", help="what its relative paths are relative to, if not its place"
    )
    return sub


def _job(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
    job = sub.add_argument("job", metavar="JOB", help="output directory, or job id as `rayjobs list` shows it")
    completion.offers(job, completion.jobs)
    return sub


def _add_running(add: Add) -> None:
    """Commands that run a job or steer one that runs."""
    from rayjobs.command_line import running

    run = _file(add("run", running.run, "Run a job here, or on the cluster of RAY_ADDRESS"))
    _priority(run)
    _json(run)
    _starting(run)
    submit = _file(add("submit", running.submit, "Submit a job to a cluster through Ray's Jobs API"))
    submit.add_argument("--address", required=True, metavar="ADDRESS", help="of the cluster's dashboard: head:8265")
    submit.add_argument("--wait", action="store_true", help="follow its log until it ends")
    _priority(submit)
    _json(submit)
    _starting(submit)
    resume = _job(add("resume", running.resume, "Go on with a job that was interrupted, paused or cancelled"))
    _json(resume)
    _starting(resume)
    retry = _job(add("retry-failed", running.retry_failed, "Try the failed inputs of a job again"))
    retry.add_argument(
        "--reason",
        action="append",
        default=[],
        choices=[reason.value for reason in FailedReason],
        metavar="REASON",
        help="only those that failed for it; repeatable",
    )
    _json(retry)
    _starting(retry)
    _json(_job(add("cancel", running.cancel, "Stop a job and keep what is done")))
    _json(_job(add("pause", running.pause, "Stop a job for now; `rayjobs resume` goes on")))
    asked = "Say where a job's tables are; of an unfinished one, write what is done so far to `partial/`"
    _json(_job(add("results", running.results, asked)))
    priority = _job(add("priority", running.set_priority, "Change the priority of a running job"))
    priority.add_argument("priority", choices=PRIORITIES, help="from now on, and when it is resumed")
    _json(priority)


def _add_looking(add: Add) -> None:
    """Commands that change nothing."""
    from rayjobs.command_line import looking

    plan = _file(add("plan", looking.plan, "Show what a job would do, and which inputs it leaves out and why"))
    _json(plan)
    _allow(plan)
    _json(_job(add("status", looking.status, "Show how a job stands")))
    _json(_job(add("watch", looking.watch, "Show a running job's progress until it ends")))
    history = _job(add("history", looking.history, "Show every attempt of a job's inputs"))
    history.add_argument("--input", metavar="TEXT", help="only inputs whose path contains it")
    _json(history)
    report = _job(add("report", looking.report, "Say where a job's report is"))
    report.add_argument("--open", action="store_true", help="show it in the browser")
    _json(report)
    logs = _job(add("logs", looking.logs, "Show what a submitted job printed"))
    logs.add_argument("--address", metavar="ADDRESS", help="of the cluster's dashboard, unless it is known: head:8265")
    _json(logs)
    listed = add("list", looking.list_jobs, "List the jobs that were run from this account")
    listed.add_argument("--all", action="store_true", help="also those whose output was removed")
    _json(listed)


def _add_upkeep(add: Add) -> None:
    """Commands for what a job has left on the disk."""
    from rayjobs.command_line import upkeep

    verify = _job(add("verify", upkeep.verify, "Compare an output with what was published; 0 equal, 2 differs"))
    verify.add_argument("--deep", action="store_true", help="compare contents, not only sizes and times")
    _json(verify)
    prune = _job(add("prune", upkeep.prune, "List what a job made and doesn't want any more"))
    prune.add_argument("--yes", action="store_true", help="remove it")
    _json(prune)
    rebuild = _job(add("rebuild", upkeep.rebuild, "Make a damaged or lost ledger again; no other file is touched"))
    _json(rebuild)
    _allow(rebuild)


def _add_keeping(add: Add) -> None:
    """Commands for a Ray that outlives a job."""
    from rayjobs.command_line import keeping

    up = add("up", keeping.up, "Keep a Ray on this machine, so that jobs begin at once")
    up.add_argument(
        "--idle",
        type=keeping.idle_minutes,
        default=keeping.IDLE_MINUTES,
        metavar="MINUTES",
        help=f"end it when no job has used it for so long; {keeping.IDLE_MINUTES} if not given",
    )
    _json(up)
    _json(add("down", keeping.down, "End the Ray that `rayjobs up` keeps, unless a job uses it"))


def _add_references(add: Add) -> None:
    """Commands that concern no single job."""
    from rayjobs.command_line import new_plugin, reference

    operations = add("operations", reference.operations, "List the operations, or explain one")
    name = operations.add_argument("name", nargs="?", metavar="NAME", help="explain this one, with an example")
    completion.offers(name, completion.operations)
    operations.add_argument("--picture", type=Path, metavar="FILE.png", help="draw what NAME does: before and after")
    _json(operations)
    _allow(operations)
    analyses = add("analyses", reference.analyses, "List the analyses with their columns, or explain one")
    name = analyses.add_argument("name", nargs="?", metavar="NAME", help="explain this one, with an example")
    completion.offers(name, completion.analyses)
    _json(analyses)
    _allow(analyses)
    charts = add("charts", reference.charts, "List the analyses that have a chart, or draw a page with all of them")
    charts.add_argument("--gallery", type=Path, metavar="DIR", help="draw charts.md and its pictures into DIR")
    _json(charts)
    extensions = add("extensions", reference.extensions, "List the plug-ins that are installed, without loading them")
    _json(extensions)
    _allow(extensions)
    plugin = add("new-plugin", new_plugin.new_plugin, "Write a package with an operation, an analysis and a chart")
    plugin.add_argument("name", metavar="NAME", help="of the package and all in it; it is written into ./NAME")
    _json(plugin)
    migrate = add("migrate", reference.migrate, "Turn jobs of the old batch format into job files")
    migrate.add_argument("file", type=Path, metavar="OLD.json", help="file of the old batch system")
    migrate.add_argument("-o", "--output", type=Path, metavar="DIR", help="where job files go, instead of beside it")
    _json(migrate)
    init = add("init", reference.init, "Write an example job file")
    init.add_argument(
        "file", type=Path, nargs="?", default=Path("job.yaml"), metavar="FILE", help="job.yaml if not given"
    )
    init.add_argument("--schema", action="store_true", help="also write its JSON Schema, for editors")
    _json(init)
    _allow(init)
    shells = add("completion", completion.completion, "Print what lets a shell complete commands, jobs and names")
    shells.add_argument("shell", choices=completion.SHELLS, help='as in: eval "$(rayjobs completion bash)"')
    doctor = add("doctor", reference.doctor, "Look at what usually goes wrong before a job does")
    doctor.add_argument("--no-ray", action="store_true", help="don't start Ray")
    _json(doctor)


def _allowed_by_environment() -> list[str]:
    return [name.strip() for name in os.environ.get(ALLOW_VARIABLE, "").split(",") if name.strip()]


def _json(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--json", action="store_true", help="print JSON for programs")


def _priority(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--priority", choices=PRIORITIES, help="instead of the job file's priority")


def _allow(sub: argparse.ArgumentParser) -> None:
    allow = sub.add_argument(
        "--allow-plugin",
        action="append",
        default=[],
        dest="allowed",
        metavar="NAME",
        help=f"allow the job to use this extension; repeatable (also: {ALLOW_VARIABLE}=a,b)",
    )
    completion.offers(allow, completion.plugins)


def _starting(sub: argparse.ArgumentParser) -> None:
    """What only a person may say of a run, and no job file."""
    _allow(sub)
    sub.add_argument(
        "--notify",
        action="append",
        default=[],
        metavar="WHERE",
        help="when it ends, post JSON to this URL, or tell what the settings define by this name; repeatable",
    )
    sub.add_argument(
        "--notify-command",
        action="append",
        default=[],
        dest="notify_commands",
        metavar="COMMAND",
        help="when it ends, start this without a shell, with JSON as its input; repeatable",
    )
