"""What several unit tests begin with."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from tests.places import Place

# The first example of a test may load a library or compile a kernel, and the machine may be busy.
settings.register_profile("any time", deadline=None)
settings.load_profile("any time")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Four pictures, and a job over them that hasn't run yet."""
    monkeypatch.setenv("RAYJOBS_HOME", str(tmp_path / "home"))
    return Place(tmp_path)
