"""The standard work as a script with a pool writes it, with our own functions: images, tables, a plain manifest.

``python -m benchmarks.pool_script LIST OUTPUT PROCESSES``; the list names a photograph per line. It checks nothing,
remembers nothing, and can't go on where it stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import standard_work
from benchmarks.baselines import CHUNK, run_block
from pipelines.cpu_threads import limit_threads
from pipelines.models import ImageStatus, WorkItem
from pipelines.stages.block_task import Workspace
from pipelines.stages.recipe import Recipe
from pipelines.tables.assemble import InputParts, PartColumns
from pipelines.tables.sealing import SealRequest, seal_part


def main(listed: str, output: str, processes: str) -> None:
    """Run the whole of it."""
    files = [Path(line) for line in Path(listed).read_text(encoding="utf-8").splitlines()]
    items, recipe = standard_work.items(files), standard_work.recipe()
    workspace = standard_work.workspace(Path(output))
    chunks = [(items[at : at + CHUNK], recipe, workspace) for at in range(0, len(items), CHUNK)]
    with get_context("spawn").Pool(int(processes), limit_threads, (1,)) as pool:
        rows = [row for chunk in pool.imap(_rows, chunks) for row in chunk]
    _write_tables(files, rows, workspace, recipe)
    manifest = {
        "input": [str(file) for file in files],
        "status": [row.status for row in rows],
        "output": [row.outputs[0].path for row in rows],
        "sha256": [row.outputs[0].sha256 for row in rows],
    }
    pq.write_table(pa.table(manifest), Path(output) / "manifest.parquet")


def _rows(chunk: tuple[Sequence[WorkItem], Recipe, Workspace]) -> list[ImageStatus]:
    return run_block(*chunk)


def _write_tables(files: Sequence[Path], rows: Sequence[ImageStatus], workspace: Workspace, recipe: Recipe) -> None:
    """One table of scalars and one of each scope, from what the processes saved."""
    data = workspace.root / "data"
    data.mkdir()
    inputs = [
        InputParts(input=str(file), seq=seq, parts=(PartColumns(workspace.parts / str(row.part), row=row.row),))
        for seq, (file, row) in enumerate(zip(files, rows, strict=True))
    ]
    seal_part(SealRequest(target=data / "analyses.parquet", requests=recipe.analyses, inputs=tuple(inputs)))


if __name__ == "__main__":
    main(*sys.argv[1:])
