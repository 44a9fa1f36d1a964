"""All job files among the examples load, and ask for something."""

from __future__ import annotations

from pathlib import Path

import pytest

from rayjobs.job.job_file import load_job

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TEMPLATE = EXAMPLES.parent / "rayjobs" / "job_template.yaml"


@pytest.mark.parametrize("path", [*sorted(EXAMPLES.glob("*.yaml")), TEMPLATE], ids=lambda path: path.name)
def test_example_job_files_load(path: Path) -> None:
    spec = load_job(path)
    assert spec.inputs
    assert spec.operations or spec.analyses
