"""The readers that the documentation shows, on the tables of a job: every block of docs/how-to/tables.md runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from rayjobs.job.job_check import check_job
from rayjobs.run.run_request import request_of
from tests.quick_runs import run_here
from tests.runs import write_photographs

PAGE = Path(__file__).parents[3] / "docs/how-to/tables.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
IMAGES = 4


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base: Path = tmp_path_factory.mktemp("tables")
    write_photographs(base / "in", IMAGES)
    analyses = ["luma_waveform", "statistics", "color_histogram"]
    job = {"name": "tables", "inputs": ["in/"], "analyses": analyses, "output": "out"}
    run_here(request_of(check_job(job, base=base), base, None))
    return base / "out"


@pytest.mark.parametrize("block", [block for block in BLOCKS if "import ray" not in block])
def test_every_block_runs(block: str, output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values: dict[str, Any] = {"OUT": str(output)}
    exec(compile(block, str(PAGE), "exec"), values)
    assert capsys.readouterr().out


def test_readers_agree(output: Path) -> None:
    path = output / "data/analyses.parquet"
    frame = pd.read_parquet(path)
    assert len(frame) == IMAGES
    assert not [name for name in frame if frame[name].map(lambda cell: isinstance(cell, np.ndarray)).any()]
    means = frame["statistics_luma_mean"].tolist()
    assert pl.read_parquet(path)["statistics_luma_mean"].to_list() == means
    assert [row[0] for row in duckdb.sql(f"SELECT statistics_luma_mean FROM '{path}'").fetchall()] == means
    assert pq.read_table(path).column("statistics_luma_mean").to_pylist() == means


def test_arrays_are_joined_by_input(output: Path) -> None:
    frame = pd.read_parquet(output / "data/analyses.parquet")
    for name in ("luma_waveform", "color_histogram"):
        arrays = pd.read_parquet(output / f"data/scopes/{name}.parquet")
        assert arrays["input"].tolist() == frame["input"].tolist()
        lists = pl.read_parquet(output / f"data/scopes/{name}.parquet")
        for column in arrays.columns[1:]:
            np.testing.assert_array_equal(np.stack(arrays[column].to_list()), lists[column].to_numpy())
