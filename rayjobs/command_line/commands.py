"""What each command does: load, call, print. Everything it knows comes from the modules that do the work."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from actors.ledger.job_registry import job_id_of
from pipelines.analyses import ANALYSES
from pipelines.errors import JobError, RayjobsError
from pipelines.extensions.extension_manager import process_extensions
from pipelines.kernel_cache import unusual_place
from pipelines.operations import OPERATIONS
from pipelines.quantity_texts import duration_text
from pipelines.tables import printable, readable_path
from rayjobs.command_line.exit_codes import EXIT_FAILURES, EXIT_INTERRUPTED, EXIT_OK, EXIT_PROBLEM
from rayjobs.command_line.program import nobody_listens, outlive_the_terminal
from rayjobs.job.job_file import load_job
from rayjobs.job.job_state import COMPLETE, TERMINAL, JobState, JobStatus, find_output, read_state
from rayjobs.job.output_directory import CANCEL, PAUSE, OutputDirectory
from rayjobs.run.last_words import explained
from rayjobs.run.notify import event_of, named, targets_of_command_line, tell
from rayjobs.run.planning import RunRequest
from rayjobs.run.progress import Rate, Snapshot, open_display
from rayjobs.run.run import (
    InterruptedBySignalError,
    request_of,
    run_job,
    set_stopped,
    stored_request,
)
from rayjobs.run.signals import stopping_on_signals

WATCH_INTERVAL_S = 0.5
STOP_WAIT_S = 60.0


def version_text() -> str:
    """``rayjobs 1.2.3``."""
    return f"rayjobs {metadata.version('rayjobs-app')}"


# ---- running -----------------------------------------------------------------------------------------------------


def run(arguments: argparse.Namespace) -> int:
    """``rayjobs run``."""
    return _run(_request(arguments), arguments)


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

    request = _request(arguments)
    targets_of_command_line([where for where in arguments.notify if "://" in where], arguments.notify_commands)
    options = [part for name in arguments.allowed for part in ("--allow-plugin", name)]
    options += [part for where in arguments.notify for part in ("--notify", where)]
    options += [part for text in arguments.notify_commands for part in ("--notify-command", text)]
    submitted = submit_job(request, address=arguments.address, options=options, wait=arguments.wait)
    print(submitted.job_id)
    return submitted.exit_code


def _request(arguments: argparse.Namespace) -> RunRequest:
    from rayjobs.run.ray_session import in_submitted_job

    spec = load_job(arguments.file)
    if getattr(arguments, "priority", None):
        spec = spec.model_copy(update={"priority": arguments.priority})
    output: Path | None = arguments.output
    chosen = output or Path(spec.output)
    if in_submitted_job() and not chosen.is_absolute():
        raise JobError(
            f"output {chosen}: inside of a Ray job a relative output would land in a disposable copy of the working "
            "directory; give --output with an absolute path, or use `rayjobs submit`"
        )
    return request_of(spec, arguments.file.parent, output)


def _run(request: RunRequest, arguments: argparse.Namespace) -> int:
    """Run to the end, print that, and only then tell others."""
    also = targets_of_command_line(arguments.notify, arguments.notify_commands)
    try:
        named(request.spec.notify)
    except RayjobsError as error:  # a job file of somebody else: it runs as well
        print(f"rayjobs: warning: {error}", file=sys.stderr)
    event: dict[str, Any] = {}
    try:
        return _run_to_end(request, event, as_json=arguments.json)
    finally:
        try:
            for problem in tell(request.spec.notify, event, also=also) if event else ():
                print(f"rayjobs: warning: {problem}", file=sys.stderr)
        except KeyboardInterrupt:  # whoever waits for it may go; the job has ended as it has
            print("rayjobs: warning: not everybody was told", file=sys.stderr)


def _run_to_end(request: RunRequest, event: dict[str, Any], *, as_json: bool) -> int:
    outlive_the_terminal()
    unusual = unusual_place()
    if unusual is not None:
        print(f"rayjobs: {unusual}", file=sys.stderr)
    interrupted = threading.Event()
    display = open_display(quiet=as_json)
    try:
        with stopping_on_signals(interrupted):
            state = run_job(request, display, interrupted)
    except InterruptedBySignalError as error:
        display.close()
        print(f"rayjobs: {error}", file=sys.stderr)
        found = _state_after(error, JobStatus.INTERRUPTED, request)
        event |= event_of(found)
        if as_json:
            _print_json(found)
        return EXIT_INTERRUPTED
    except Exception as error:
        told = explained(error)
        found = _state_after(told, JobStatus.FAILED, request)
        event |= event_of(found)
        if as_json:
            _print_json(found)
        raise told from error
    finally:
        display.close()
    event |= event_of(state.to_json())
    if as_json:
        _print_json(state.to_json())
    else:
        _print_end(state, OutputDirectory(request.output))
    return exit_code(state)


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


def exit_code(state: JobState) -> int:
    """What a run that ended in this state tells the shell."""
    if state.status in COMPLETE:
        return EXIT_OK if state.within_limit else EXIT_FAILURES
    return EXIT_FAILURES if state.status is JobStatus.FAILED else EXIT_INTERRUPTED


def _print_end(state: JobState, output: OutputDirectory) -> None:
    print(_nothing_to_do(state) if state.unchanged else _summary(state))
    for reason, count in state.reasons.items():
        print(f"  {count:>6,}  {reason}")
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
    text = f"{state.name}: nothing to do; {state.done:,} were done before"
    if state.started and state.finished and state.finished > state.started:
        text += f" (in {duration_text(state.finished - state.started)})"
    return text


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _summary(state: JobState) -> str:
    text = f"{state.name}: {state.status.replace('_', ' ')}: {state.done:,} of {state.total:,} done"
    if state.failed:
        text += f", {state.failed:,} failed"
    if state.skipped:
        text += f", {state.skipped:,} skipped"
    if state.started and state.finished and state.finished > state.started:
        text += f" in {duration_text(state.finished - state.started)}"
    if state.known:
        text += f"; {state.known:,} analys{'is' if state.known == 1 else 'es'} from the cache"
    return text


# ---- looking -----------------------------------------------------------------------------------------------------


def plan(arguments: argparse.Namespace) -> int:
    """``rayjobs plan``."""
    from rayjobs.run.dry_run import dry_run

    outlook = dry_run(_request(arguments))
    if arguments.json:
        _print_json(outlook.to_json())
    else:
        print("\n".join(outlook.lines()))
    return EXIT_OK


def status(arguments: argparse.Namespace) -> int:
    """``rayjobs status``."""
    output = find_output(arguments.job)
    state = read_state(output)
    if arguments.json:
        _print_json(state.to_json())
        return EXIT_OK
    print(_summary(state))
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
                _print_json(state.to_json())
            finished = state.done + state.failed + state.skipped
            display.show(Snapshot.of(state.name, state.status, state, rate.update(finished, time.monotonic())))
            if not output.running or nobody_listens():
                break
            time.sleep(WATCH_INTERVAL_S)
    finally:
        display.close()
    if not arguments.json:
        _print_end(state, output)
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
        _print_json(rows)
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
                _print_json({**attempt.to_json(), "input": path})
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


# ---- looking after an output -------------------------------------------------------------------------------------


def verify(arguments: argparse.Namespace) -> int:
    """``rayjobs verify``."""
    from rayjobs.results.published import verify as compare

    output = find_output(arguments.job)
    found = compare(output, deep=arguments.deep)
    if arguments.json:
        differences = [{"path": each.path, "standing": str(each.standing)} for each in found]
        _print_json({"output": str(output.root), "equal": not found, "differences": differences})
    else:
        for each in found:
            print(f"{each.standing:<8} {printable(each.path)}")
        how = "contents compared" if arguments.deep else "by size and time; --deep compares contents"
        files = "1 file differs" if len(found) == 1 else f"{len(found):,} files differ"
        print(files if found else f"as it was published ({how})")
    return EXIT_FAILURES if found else EXIT_OK


def prune(arguments: argparse.Namespace) -> int:
    """``rayjobs prune``."""
    from rayjobs.results.pruning import prune as remove_leftovers

    found = remove_leftovers(find_output(arguments.job), remove_them=arguments.yes)
    if arguments.json:
        _print_json(found.to_json())
        return EXIT_OK
    if not arguments.yes:
        for path in found.paths:
            print(f"  {printable(path)}")
    print("\n".join(found.lines()))
    return EXIT_OK


def rebuild(arguments: argparse.Namespace) -> int:
    """``rayjobs rebuild``."""
    from rayjobs.results.rebuilding import rebuild as make_again

    path = Path(arguments.job).expanduser()
    output = OutputDirectory(path.resolve()) if path.is_dir() else find_output(arguments.job)
    done = make_again(output)
    if arguments.json:
        _print_json({"output": str(output.root), **asdict(done)})
    else:
        print("\n".join(done.lines(output.root)))
    return EXIT_OK


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
    elif read_state(output).status not in TERMINAL:
        set_stopped(output, target)
    state = read_state(output)
    if arguments.json:
        _print_json(state.to_json())
    else:
        print(_summary(state))
    return EXIT_OK


def set_priority(arguments: argparse.Namespace) -> int:
    """``rayjobs priority``."""
    output = find_output(arguments.job)
    if not output.running:
        raise JobError(f"{output.root}: isn't running; start it with `rayjobs run ... --priority {arguments.priority}`")
    output.request_priority(arguments.priority)
    return EXIT_OK


# ---- reference ---------------------------------------------------------------------------------------------------


def operations(arguments: argparse.Namespace) -> int:
    """``rayjobs operations``."""
    _load_allowed()
    entries = [
        {
            "name": name,
            "group": entry.group,
            "summary": entry.summary,
            "reach": entry.reach,
            "parameters": _parameters(entry.parameters),
        }
        for name, entry in OPERATIONS.items()
    ]
    return _print_reference(entries, arguments)


def analyses(arguments: argparse.Namespace) -> int:
    """``rayjobs analyses``."""
    _load_allowed()
    entries = [
        {
            "name": name,
            "group": entry.group,
            "summary": entry.summary,
            "grain": entry.grain,
            "parameters": _parameters(entry.parameters),
            "columns": [
                {"name": f"{name}_{column.name}", "type": column.type, "unit": column.unit, "meaning": column.meaning}
                for column in entry.columns(**_defaults(entry.parameters))
            ],
            "object_columns": [
                {"name": column.name, "type": column.type, "unit": column.unit, "meaning": column.meaning}
                for column in (entry.row_columns(**_defaults(entry.parameters)) if entry.row_columns else ())
            ],
        }
        for name, entry in ANALYSES.items()
    ]
    return _print_reference(entries, arguments)


def _load_allowed() -> None:
    """Load the plug-ins that the command line allows, so that they are listed as well; say which ones can't be."""
    for name, problem in process_extensions().load_allowed().items():
        print(f"{name}: {problem}", file=sys.stderr)


def charts(arguments: argparse.Namespace) -> int:
    """``rayjobs charts``."""
    from pipelines.charts import CHARTABLE, ENGINES
    from pipelines.charts.gallery import READING, write_gallery

    if arguments.gallery:
        try:
            page = write_gallery(arguments.gallery)
        except OSError as error:
            raise JobError(f"{arguments.gallery}: {error.strerror}; give a directory that can be written") from error
        if not arguments.json:
            print(page)
            return EXIT_OK
    entries = [{"name": name, "title": READING[name][0] if name in READING else name} for name in CHARTABLE]
    if arguments.json:
        _print_json({"charts": entries, "engines": list(ENGINES)})
        return EXIT_OK
    for entry in entries:
        print(f"{entry['name']:<22} {entry['title']}")
    print(f"engines: {', '.join(ENGINES)}")
    return EXIT_OK


def extensions(arguments: argparse.Namespace) -> int:
    """``rayjobs extensions``."""
    rows = process_extensions().discover()
    if arguments.json:
        _print_json([asdict(row) for row in rows])
        return EXIT_OK
    for row in rows:
        state = row.problem or ("allowed" if row.allowed else "not allowed")
        print(f"{row.name:<24} {row.kind:<10} {row.distribution} {row.version}  {state}")
    if not rows:
        print("no plug-ins are installed; docs/how-to/plugins.md says how to write one")
    return EXIT_OK


def _parameters(model: Any) -> dict[str, Any]:
    """Name -> type, range, default and meaning, as JSON Schema says them."""
    schema = model.model_json_schema()
    found: dict[str, Any] = schema.get("properties", {})
    return {name: {key: value for key, value in entry.items() if key != "title"} for name, entry in found.items()}


def _defaults(model: Any) -> dict[str, Any]:
    return {name: field.get_default() for name, field in model.model_fields.items() if not field.is_required()}


def _print_reference(entries: list[dict[str, Any]], arguments: argparse.Namespace) -> int:
    if arguments.json:
        _print_json(entries)
        return EXIT_OK
    group = ""
    for entry in entries:
        if entry["group"] != group:
            group = entry["group"]
            print(f"\n{group}" if entry is not entries[0] else group)
        print(f"  {entry['name']:<22} {entry['summary']}")
        for name, parameter in entry["parameters"].items():
            print(f"      {name:<18} {_parameter_text(parameter)}")
    return EXIT_OK


def _parameter_text(parameter: dict[str, Any]) -> str:
    kind = parameter.get("type", "")
    choices = parameter.get("enum") or [c for option in parameter.get("anyOf", []) for c in option.get("enum", [])]
    low, high = parameter.get("minimum"), parameter.get("maximum")
    range_text = f"{low} to {high}" if low is not None and high is not None else "|".join(map(str, choices)) or kind
    default = f", default {parameter['default']}" if parameter.get("default") is not None else ""
    return f"{range_text}{default}  {parameter.get('description', '')}".strip()


def init(arguments: argparse.Namespace) -> int:
    """``rayjobs init``."""
    text = (resources.files("rayjobs") / "job_template.yaml").read_text(encoding="utf-8")
    files: dict[Path, str] = {arguments.file: text}
    if arguments.schema and arguments.file.name:  # without a name it is a directory, as is told below
        from rayjobs.job.job_spec import job_schema

        schema: Path = arguments.file.with_suffix(".schema.json")
        files[arguments.file] = f"# yaml-language-server: $schema={schema.name}\n{text}"
        files[schema] = json.dumps(job_schema(), indent=2) + "\n"
    _create(files)
    for path in files:
        print(path)
    return EXIT_OK


def _create(files: dict[Path, str]) -> None:
    """Write files that aren't there yet, all or none."""
    with ExitStack() as undo:
        try:
            for path, text in files.items():
                with path.open("x", encoding="utf-8") as file:
                    undo.callback(path.unlink, missing_ok=True)
                    file.write(text)
        except FileExistsError:
            raise JobError(f"{path} exists; give another name: rayjobs init FILE") from None
        except OSError as error:
            raise JobError(f"{error.filename or path}: {error.strerror}") from error
        undo.pop_all()


def migrate(arguments: argparse.Namespace) -> int:
    """``rayjobs migrate``."""
    from rayjobs.migration.migrate import migrate_file

    done = migrate_file(arguments.file, arguments.output)
    if arguments.json:
        _print_json(done.to_json())
    else:
        print("\n".join(done.lines()))
    return EXIT_OK


def doctor(arguments: argparse.Namespace) -> int:
    """``rayjobs doctor``."""
    from rayjobs.command_line.doctor import diagnose

    problems = False
    for finding in diagnose(start_ray=not arguments.no_ray):
        problems |= finding.verdict == "problem"
        if arguments.json:
            _print_json({"verdict": finding.verdict, "what": finding.what, "text": finding.text})
        else:
            print(f"{finding.verdict:<8} {finding.what}: {finding.text}", flush=True)
    return EXIT_PROBLEM if problems else EXIT_OK


def _print_json(value: Any) -> None:
    # where the encoding has not every letter, JSON has its own way to spell them
    escaped = (sys.stdout.encoding or "utf-8").lower() not in ("utf-8", "utf8")
    text = json.dumps(value, ensure_ascii=escaped)
    print(text, flush=True)
