"""P16: reading the table that people open: the scalars of a job with all scopes, with pandas, in a process of its own.

The job is the standard work on small photographs: a row of scalars doesn't depend on the size of its picture.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.bars import measure
from benchmarks.command_line import run, write_job
from benchmarks.figures import Figure, Scale, rounded, say
from benchmarks.photographs import SMALL, photographs

PHOTOGRAPHS = 3_000
_READ = """
import sys, time
import pandas
began = time.perf_counter()
table = pandas.read_parquet(sys.argv[1])
print(time.perf_counter() - began, len(table), len(table.columns))
"""


def p16(scale: Scale) -> Figure:
    """Seconds of ``pandas.read_parquet`` of the scalars; pandas is imported before the clock starts."""
    files = photographs(scale.share(PHOTOGRAPHS), SMALL).files
    output = scale.scratch / "tables"
    changes = {"analyses": ["scopes", "statistics", "sharpness", "noise"], "export": {"images": False}}
    run(write_job(files, output, limits={"workers": scale.workers}, **changes), home=scale.scratch / "home")
    seconds = []
    rows = columns = 0
    for _ in range(max(scale.repeat, 3)):
        took, rows, columns = _read(output / "data/analyses.parquet")
        seconds.append(took)
        say(f"  {rows} rows, {columns} columns: {took:.3f} s")
    detail = {"rows": rows, "columns": columns, "turns": [rounded(each) for each in seconds]}
    value = statistics.median(seconds)
    return Figure("P16", [measure("P16", "seconds to read the scalars", value, detail)])


def _read(path: Path) -> tuple[float, int, int]:
    done = subprocess.run([sys.executable, "-c", _READ, str(path)], capture_output=True, text=True, check=True)
    seconds, rows, columns = done.stdout.split()
    return float(seconds), int(rows), int(columns)
