"""What several unit tests begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.places import Place


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Four pictures, and a job over them that hasn't run yet."""
    monkeypatch.setenv("RAYJOBS_HOME", str(tmp_path / "home"))
    return Place(tmp_path)
