"""The notebooks of the examples, run in a real kernel as their readers do, and what they show then."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient

from tests.runs import ROOT, check_outputs, environment, manifest

KERNEL_S = 120
"""How long a cell may take on a busy machine."""


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("notebooks")
    return Path(shutil.copytree(ROOT / "examples", base / "examples", ignore=shutil.ignore_patterns("out", "build")))


def run(notebook: Path) -> list[Any]:
    """The outputs of each cell of code."""
    book = nbformat.read(notebook, as_version=4)
    assert all(not cell.get("outputs") for cell in book.cells), "committed with outputs"
    client = NotebookClient(book, timeout=KERNEL_S, resources={"metadata": {"path": str(notebook.parent)}})
    client.execute(env=environment(notebook.parents[1] / "home"))
    return [cell.outputs for cell in book.cells if cell.cell_type == "code"]


def shown(outputs: Any, kind: str = "text/html") -> list[str]:
    return [output.data[kind] for output in outputs if kind in output.get("data", {})]


def names(page: str) -> list[str]:
    return re.findall('alt="([^"]+)"', page)


def test_photographs(examples: Path) -> None:
    begun, waited, table, sharpest, odd, both, pixels, waveform, end = run(examples / "photographs.ipynb")
    assert begun == []
    progress, job = shown(waited)
    assert progress.startswith("<pre")
    assert re.sub("<[^>]+>", "", progress).split()[:2] == ["photographs", "completed"]
    assert "6 of 6" in progress
    assert "completed, 6 done, 0 failed, 0 skipped of 6" in job
    assert len(names(job)) == 6
    output = examples / "out/photographs"
    check_outputs(output, manifest(output))
    images = pd.read_parquet(output / "data/analyses.parquet")
    expected = images.sort_values("sharpness_laplacian_variance", ascending=False)["input"].map(lambda p: Path(p).name)
    assert names(shown(sharpest)[0]) == expected.tolist()
    assert shown(table)[0].count("<tr>") == 6
    assert names(shown(odd)[0])[0] == "hubble_deep_field.jpg", "it is nearly black"
    assert shown(both, "image/png") or shown(both, "image/jpeg")
    assert shown(pixels, "text/plain") == ["((400, 600, 3), dtype('uint8'))"]
    assert shown(waveform, "image/png")
    assert {output.output_type for output in waited} == {"display_data", "execute_result"}, "nobody else talks"
    assert end[0].text == f"0 failed; {output / 'report/index.html'}\n"
    again = run(examples / "photographs.ipynb")
    assert names(shown(again[1])[-1]) == names(job), "run once more, it is the same job"


def test_plates(examples: Path) -> None:
    _, waited, failures, _, wells, groups, response, smallest, _ = run(examples / "plates.ipynb")
    progress, job = shown(waited)
    assert "23 done, 1 failed, 0 skipped of 24" in job
    assert "1 failed" in progress
    assert re.findall("<td>(.*?)</td>", shown(failures)[0])[:4] == ["P2", "C03", "1.0", "not_an_image"]
    assert len(re.findall("<td>", shown(wells)[0])) == 23 * 4
    assert shown(groups)[0].count("<tr>") == 8
    assert shown(response, "image/png")
    assert [name.split("/")[1][0] for name in names(shown(smallest)[0])] == ["D"] * 6
