"""What the shell offers while a command is typed: commands and options by themselves, jobs, files and names from here.

No command takes a key of a job file: editors complete those, by the schema that ``rayjobs init --schema`` writes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from typing import Any

from rayjobs.command_line.exit_codes import EXIT_OK

SHELLS = ("bash", "zsh", "fish")

Completer = Callable[..., Iterable[str]]


def offers(action: argparse.Action, completer: Completer) -> argparse.Action:
    """Let the shell offer what ``completer`` gives for an argument."""
    action.completer = completer  # type: ignore[attr-defined]
    return action


def job_files(prefix: str, **_: Any) -> list[str]:
    """Files that are named as job files are, and directories on the way to them."""
    from argcomplete.completers import FilesCompleter

    return FilesCompleter(("yaml", "yml", "json"))(prefix)


def jobs(prefix: str, **_: Any) -> list[str]:
    """Ids of the jobs of this account, and directories: each may be the output of a job."""
    from argcomplete.completers import DirectoriesCompleter

    from actors.ledger.job_registry import JobRegistry

    known = [job.job_id for job in JobRegistry().jobs() if job.output.is_dir()]
    return [*known, *DirectoriesCompleter()(prefix)]


def operations(**_: Any) -> list[str]:
    """Names of the operations."""
    from pipelines.operations import OPERATIONS

    return list(OPERATIONS)


def analyses(**_: Any) -> list[str]:
    """Names of the analyses."""
    from pipelines.analyses import ANALYSES

    return list(ANALYSES)


def plugins(**_: Any) -> list[str]:
    """Names of the installed plug-ins."""
    from pipelines.extensions.extension_manager import process_extensions

    return sorted({found.name for found in process_extensions().discover()})


def completion(arguments: argparse.Namespace) -> int:
    """``rayjobs completion``."""
    from argcomplete.shell_integration import shellcode

    print(shellcode(["rayjobs"], shell=arguments.shell))
    return EXIT_OK
