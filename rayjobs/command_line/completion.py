"""What the shell offers while a command is typed: commands and options by themselves, jobs and names from here."""

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


def jobs(**_: Any) -> list[str]:
    """Ids of the jobs of this account."""
    from actors.ledger.job_registry import JobRegistry

    return [job.job_id for job in JobRegistry().jobs() if job.output.is_dir()]


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
