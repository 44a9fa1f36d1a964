"""``rayjobs prune``: what a job made and doesn't want any more, listed by cause and removed when told. By custody.

No run removes such files: an input may come back, and a job file may be mistyped.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from actors.ledger.file_record import KeptFile
from actors.ledger.job_ledger import JobLedger
from actors.ledger.output_lock import OutputLock
from pipelines.errors import JobError
from pipelines.quantity_texts import size_text
from pipelines.storage.custody import Kind
from pipelines.storage.local_files import look, remove, remove_empty
from pipelines.tables import printable
from rayjobs.job.job_state import COMPLETE, state_of
from rayjobs.job.output_directory import OutputDirectory

CAUSES = {
    "gone": "of inputs that are gone",
    "excluded": "of inputs that `exclude` leaves out",
    "skipped": "of inputs that are skipped now",
    "failed": "of inputs that failed since",
    "unwanted": "that the job doesn't ask for any more",
    "superseded": "that there are again, under another name or in another format",
}


@dataclass(slots=True)
class Leftovers:
    """The files that a job doesn't want any more."""

    files: dict[str, int] = field(default_factory=dict)
    """Cause -> number."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Cause -> bytes."""
    paths: list[str] = field(default_factory=list)
    """Relative to the output."""
    theirs: list[str] = field(default_factory=list)
    """Files that somebody has changed since: they stay."""
    removed: bool = False

    def count(self, kept: KeptFile) -> None:
        self.files[kept.cause] = self.files.get(kept.cause, 0) + 1
        self.sizes[kept.cause] = self.sizes.get(kept.cause, 0) + max(kept.file.bytes, 0)
        self.paths.append(kept.file.path)

    def to_json(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        causes = {cause: {"files": count, "bytes": self.sizes[cause]} for cause, count in self.files.items()}
        return {"removed": self.removed, "causes": causes, "paths": self.paths, "changed": self.theirs}

    def lines(self) -> Iterator[str]:
        """The same for a person."""
        for cause, text in CAUSES.items():
            if cause in self.files:
                count = self.files[cause]
                yield f"{count:>7,} file{'s' * (count != 1)}, {size_text(self.sizes[cause])}: {text}"
        yield from (f"changed by somebody, so it stays: {printable(path)}" for path in self.theirs)
        if not self.files:
            yield "nothing to remove: the job wants every file that it made"
        elif self.removed:
            yield "removed"
        else:
            yield "nothing was removed; `rayjobs prune --yes` does it"


def leftovers(ledger: JobLedger) -> Iterator[KeptFile]:
    """The files that a job doesn't want any more."""
    return ledger.files.kept(ledger.facts.read().products)


def prune(output: OutputDirectory, *, remove_them: bool) -> Leftovers:
    """Count what the job doesn't want any more, and remove it if told.

    Raises
    ------
    JobError
        The job isn't finished, so that nobody knows yet what it wants; or it is running.
    """
    lock = OutputLock(output.lock)
    try:
        with closing(output.open_ledger()) as ledger:
            state = state_of(ledger, output)
            if state.status not in COMPLETE or ledger.counts().open:
                raise JobError(
                    f"{output.root}: the job is {state.status}, so what it wants isn't all there yet; let it finish "
                    "first (`rayjobs resume`)"
                )
            found = Leftovers(removed=remove_them)
            for kept in list(leftovers(ledger)):
                if look(output.root / kept.file.path).kind is Kind.NOTHING:
                    if remove_them:
                        _forget(ledger, kept)
                elif not remove_them:
                    found.count(kept)
                elif _removed(output, kept):
                    found.count(kept)
                    _forget(ledger, kept)
                else:
                    found.theirs.append(kept.file.path)
                    ledger.files.lost(kept.file.path, theirs=True)
            if remove_them:
                ledger.forget_gone()
                ledger.durable()
                ledger.copy_to(output.sealed_ledger)
            return found
    finally:
        lock.release()


def _forget(ledger: JobLedger, kept: KeptFile) -> None:
    """A file isn't there any more: its input, should it be wanted again, has to be worked on for it."""
    if kept.is_product and kept.file.input is not None:
        ledger.lost_files(kept.file.input, kept.file.product)
    ledger.files.forget([kept.file.path])


def _removed(output: OutputDirectory, kept: KeptFile) -> bool:
    if not remove(output.root, kept.file.path, {kept.file.sha256}):
        return False
    remove_empty(output.root, kept.file.path)
    return True
