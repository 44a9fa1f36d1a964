"""Which input of a job somebody means: by its path, by what the tables call it, or by the end of either."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from actors.ledger.job_ledger import JobLedger
from actors.ledger.ledger_rows import FinalInput
from pipelines.errors import JobError
from pipelines.registry import nearest
from pipelines.tables import readable_path

SHOWN = 3
NEAR_OF = 20_000
"""Names are compared with so many inputs: with millions it would take minutes to say what was meant."""


def find_inputs(ledger: JobLedger, names: Iterable[str]) -> list[FinalInput]:
    """The input of each name, in their order: ``/photos/2024/a.jpg``, ``2024/a.jpg`` or ``a.jpg``.

    The list of the job's inputs is read once, and only if some name isn't a path.

    Raises
    ------
    JobError
        There is none of a name, with the names that are near; or there are several.
    """
    asked = list(names)
    exact = {name: _of_path(ledger, name) for name in dict.fromkeys(asked)}
    called = _called(ledger, [name for name, found in exact.items() if found is None])
    return [exact[name] or _only(ledger, name, called[name]) for name in asked]


def _of_path(ledger: JobLedger, name: str) -> FinalInput | None:
    try:
        path = os.fsencode(os.path.abspath(os.path.expanduser(name)))
    except UnicodeEncodeError:  # no name of a file; a table may call an input so
        return None
    return ledger.find_input(path)


@dataclass(slots=True)
class _Called:
    """The inputs of one name."""

    count: int = 0
    first: list[bytes] = field(default_factory=list)
    """No more than are told of."""
    itself: bytes | None = None
    """The one that tables call exactly so."""


def _called(ledger: JobLedger, names: Sequence[str]) -> dict[str, _Called]:
    found = {name: _Called() for name in names}
    by_last: dict[str, list[str]] = {}
    for name in found:
        by_last.setdefault(name.rpartition("/")[2], []).append(name)
    for path in ledger.input_paths() if found else ():
        readable = readable_path(path)
        for name in by_last.get(readable.rpartition("/")[2], ()):
            if readable == name:
                found[name].itself = path
            elif readable.endswith(f"/{name}"):
                found[name].count += 1
                found[name].first += [path] if len(found[name].first) < SHOWN else []
    return found


def _only(ledger: JobLedger, name: str, called: _Called) -> FinalInput:
    path = called.itself or (called.first[0] if called.count == 1 else None)
    if path is None and called.count:
        shown = ", ".join(map(readable_path, called.first)) + (", ..." if called.count > SHOWN else "")
        raise JobError(f"{called.count:,} inputs are called {name!r}; give more of the path: {shown}")
    if path is None:
        some = islice(ledger.input_paths(), NEAR_OF)
        ends = {readable_path(each).rpartition("/")[2] for each in some}
        raise JobError(f"the job has no input {name!r}{nearest(name.rpartition('/')[2], sorted(ends))}")
    chosen = ledger.find_input(path)
    assert chosen is not None  # the ledger named it
    return chosen
