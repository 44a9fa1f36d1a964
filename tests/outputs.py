"""Output directories for tests: with a ledger, with a manifest alone, or damaged, without running a job."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from actors.ledger.job_ledger import JobLedger
from pipelines.models import Output
from pipelines.tables import manifest_batch, manifest_schema, write_manifest


def write(root: Path, *relative: str) -> None:
    for name in relative:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def record(root: Path, *relative: str, there: bool = True) -> Path:
    """An output whose ledger knows these files."""
    (root / ".rayjobs").mkdir(parents=True, exist_ok=True)
    with closing(JobLedger(root / ".rayjobs/ledger.sqlite")) as ledger:
        ledger.files.put_job_files(Output(product="image", path=name, sha256="0" * 64, bytes=1) for name in relative)
    if there:
        write(root, *relative)
    return root


def list_in_manifest(root: Path, *relative: str, there: bool = True) -> Path:
    """An output without ledger, whose manifest names these files."""
    (root / ".rayjobs").mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "input_bytes": b"/in/%d.jpg" % number,
            "status": "done",
            "outputs": [{"path": name, "sha256": "0" * 64, "bytes": 1}],
        }
        for number, name in enumerate(relative)
    ]
    rows.append({"input_bytes": b"/in/skipped.jpg", "status": "skipped", "outputs": None})
    write_manifest(root / "manifest.parquet", [manifest_batch(rows, manifest_schema())])
    if there:
        write(root, *relative)
    return root


def damage(root: Path) -> Path:
    (root / ".rayjobs/ledger.sqlite").write_bytes(b"no ledger at all" * 1000)
    return root
