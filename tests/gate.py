"""A gate that holds images up, so that a test stops work in the middle on the fastest machine as well.

An operation that leaves every picture as it is. So many pictures pass at once; each further one takes its time until
the gate is opened, so that a run that is to be paused still gets through with what it has in hand.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipelines.extensions.extension_manager import process_extensions
from tests import gate_plugin
from tests.runs import OPERATIONS, ROOT

GATED: dict[str, Any] = {
    "plugins": ["gate"],
    "operations": ["gate", *OPERATIONS],
    "limits": {"workers": 2},  # on a machine with more, it would be over sooner
}
"""Keys of a job whose images go through the gate."""


class Gate:
    """One for all work that is told where it is, in its environment or its parameters; open at first.

    Parameters
    ----------
    place
        A new directory; of the gate alone.
    """

    def __init__(self, place: Path) -> None:
        self.place, self._site = place, place / "site"
        package = self._site / "gate-1.0.dist-info"
        package.mkdir(parents=True)
        shutil.copy(gate_plugin.__file__, self._site)
        (package / "METADATA").write_text("Metadata-Version: 2.1\nName: gate\nVersion: 1.0\n")
        (package / "entry_points.txt").write_text("[rayjobs.processors]\ngate = gate_plugin:GateOperation\n")
        (place / "passed").mkdir()

    @property
    def variables(self) -> dict[str, str]:
        """For the environment of whoever starts a job, and of its workers."""
        path = os.pathsep.join([str(self._site), str(ROOT)])
        return {"PYTHONPATH": path, "RAYJOBS_ALLOW_PLUGINS": "gate", "GATE": str(self.place)}

    def shut(self, after: int) -> None:
        """Let so many pictures pass from now on, and one or two more, since workers don't wait for each other."""
        fresh = self.place / "fresh"
        fresh.write_text(str(after))
        fresh.replace(self.place / "after")
        for mark in (self.place / "passed").iterdir():
            mark.unlink()

    def open(self) -> None:
        """Hold nobody up."""
        (self.place / "after").unlink(missing_ok=True)

    @contextmanager
    def in_this_process(self) -> Iterator[None]:
        """Jobs that this process starts inside go through it."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.variables.items():
                patch.setenv(name, value)
            patch.syspath_prepend(str(self._site))
            process_extensions.cache_clear()
            process_extensions().allow(["gate"])
            try:
                yield
            finally:
                process_extensions().close()
                process_extensions.cache_clear()
