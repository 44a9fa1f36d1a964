"""Which input of a job somebody means: by its path, by what the tables call it, or by the end of either."""

from __future__ import annotations

import os
from itertools import islice

from actors.ledger.job_ledger import JobLedger
from actors.ledger.ledger_rows import FinalInput
from pipelines.errors import JobError
from pipelines.registry import nearest
from pipelines.tables import readable_path

SHOWN = 3
NEAR_OF = 20_000
"""Names are compared with so many inputs: with millions it would take minutes to say what was meant."""


def find_input(ledger: JobLedger, name: str) -> FinalInput:
    """The input of a job that is called so: ``/photos/2024/a.jpg``, ``2024/a.jpg`` or ``a.jpg``.

    Raises
    ------
    JobError
        There is none, with the names that are near; or there are several.
    """
    exact = ledger.find_input(os.fsencode(os.path.abspath(os.path.expanduser(name))))
    if exact is not None:
        return exact
    found: list[bytes] = []
    for path in ledger.input_paths():
        readable = readable_path(path)
        if readable == name:
            found = [path]
            break
        if readable.endswith(f"/{name}"):
            found.append(path)
    if len(found) > 1:
        shown = ", ".join(map(readable_path, found[:SHOWN])) + (", ..." if len(found) > SHOWN else "")
        raise JobError(f"{len(found):,} inputs are called {name!r}; give more of the path: {shown}")
    if not found:
        some = islice(ledger.input_paths(), NEAR_OF)
        names = {readable_path(path).rpartition("/")[2] for path in some}
        raise JobError(f"the job has no input {name!r}{nearest(name.rpartition('/')[2], sorted(names))}")
    chosen = ledger.find_input(found[0])
    assert chosen is not None  # the ledger named it
    return chosen
