"""The pictures of a report: made once, by whoever holds the pixels, also when the run doesn't come to its end."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from actors.ledger.file_record import FileRecord
from pipelines.models import ImageStatus
from pipelines.stages.publish import Publisher
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.results import job_results
from rayjobs.results.published import verify
from rayjobs.run.run_loop import RunEnd
from tests.places import Place, picture
from tests.quick_runs import Killed


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def nothing_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        job_results, "make_thumbnails", lambda path, **promised: pytest.fail(f"{path} was decoded again")
    )


def argument(place: Place, name: str) -> Any:
    """What a file of data tells the page."""
    text = (place.out / f"report/data/{name}.js").read_text()
    return json.loads(f"[{text[text.index('(') + 1 : text.rindex(')')]}]")[-1]


def shown(place: Place, name: str, *, before: bool = False, stretched: bool = False) -> np.ndarray | None:
    """The preview of an input's result or original, as the page finds it."""
    block, rows = argument(place, "block-00000"), argument(place, "rows-00000")
    at = block["names"].index(name)
    key = (rows[at][8] or [""])[0] if before else block["keys"][at]
    path = place.out / f"report/thumbnails/{key}{'-stretched' if stretched else ''}.jpg"
    return np.asarray(Image.open(BytesIO(path.read_bytes()))).astype(int) if key else None


def kill_after(inputs: int) -> Callable[[ImageStatus], None]:
    seen: list[int] = []

    def after(row: ImageStatus) -> None:
        seen.append(row.id)
        if len(seen) > inputs:
            raise Killed

    return after


@pytest.mark.parametrize("images", [{"format": "png"}, None])
@pytest.mark.usefixtures("nothing_made_again")
def test_previews_outlive_a_run_that_was_stopped_or_killed(place: Place, images: dict[str, str] | None) -> None:
    job = {} if images else {"export": {"images": False, "data": ["csv"]}}
    place.run(job=job, images=images, end=RunEnd.INTERRUPTED, most=1)
    assert not (place.out / "report").exists()
    with pytest.raises(Killed):
        place.run(job=job, images=images, after=kill_after(1))
    place.run(job=job, images=images)
    assert len(place.rows) < 4  # the others were done before
    for number in range(4):
        found = shown(place, f"p{number}.png")
        assert found is not None
        assert found.reshape(-1, 3).mean(axis=0) == pytest.approx((255 - 40 * number, 40 * number, 165), abs=4)
    assert sorted(path.name for path in (place.out / ".rayjobs").iterdir() if "thumb" in path.name) == []


def dies_at(owner: type, name: str, call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the n-th call that is about a preview be the process's last."""
    original, seen = getattr(owner, name), []

    def dying(self: Any, *arguments: Any, **named: Any) -> Any:
        if "report/thumbnails/" in repr(arguments):
            seen.append(name)
            if len(seen) == call:
                raise Killed
        return original(self, *arguments, **named)

    monkeypatch.setattr(owner, name, dying)


def made(output: Path) -> dict[str, bytes]:
    """All that a finished job leaves, but for what tells times."""
    told = ("job.json", "report/index.html", "report/data/job.js")
    files = {path.relative_to(output).as_posix(): path for path in output.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name[0] != "." and name not in told}


@pytest.mark.parametrize(("where", "call", "named"), [("naming", 3, 2), ("noting", 1, 5), ("noting", 2, 7)])
@pytest.mark.usefixtures("nothing_made_again")
def test_a_job_that_dies_while_previews_get_their_names_ends_with_the_same_files(
    place: Place, where: str, call: int, named: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ramp = np.tile(np.linspace(2_000, 3_000, 60).astype(np.uint16), (40, 1))
    Image.fromarray(ramp).save(place.base / "in/p1.png")  # has two more of its original, and both are stretched as well
    place.run(job={"output": "undisturbed"})
    undisturbed = made(place.base / "undisturbed")
    assert sum("thumbnails" in name for name in undisturbed) == 7
    with monkeypatch.context() as dying:
        dies_at(*((Publisher, "publish_file") if where == "naming" else (FileRecord, "put_job_files")), call, dying)
        with pytest.raises(Killed):
            place.run()
    assert not (place.out / "manifest.parquet").exists()
    assert len(list((place.out / "report/thumbnails").iterdir())) == named
    place.run()
    assert place.rows == []
    assert made(place.out) == undisturbed
    assert verify(OutputDirectory(place.out), deep=True) == []
    with closing(OutputDirectory(place.out).read_ledger()) as ledger:
        assert {file.path for file in ledger.files.current()} >= undisturbed.keys()  # nothing of it would be pruned


def test_of_an_input_that_was_done_anew_the_old_preview_goes(place: Place) -> None:
    job: dict[str, Any] = {"operations": [], "export": {"images": False, "data": ["csv"]}}
    place.run(job=job)
    size = (place.base / "in/p3.png").stat().st_size
    picture(place.base / "in/p3.png", 200)
    assert (place.base / "in/p3.png").stat().st_size == size  # the number and the size of the input stay the same
    place.run(job=job)
    found = shown(place, "p3.png")
    assert found is not None
    assert found[3, 3] == pytest.approx((200, 55, 90), abs=4)
    place.run(job=job | {"operations": ["invert"]})
    found = shown(place, "p3.png")
    assert found is not None
    assert found[3, 3] == pytest.approx((55, 200, 165), abs=4)


@pytest.mark.usefixtures("nothing_made_again")
def test_originals_that_browsers_cannot_show_have_previews_of_their_own(place: Place) -> None:
    for path in (place.base / "in").iterdir():
        path.unlink()
    ramp = np.tile(np.linspace(200, 900, 1200).astype(np.uint16), (900, 1))
    tifffile.imwrite(place.base / "in/deep.tif", ramp)
    tifffile.imwrite(place.base / "in/plain.tif", np.full((50, 60, 3), (200, 30, 30), np.uint8), photometric="rgb")
    picture(place.base / "in/known.png", 90)
    place.run(images={"format": "png", "bit_depth": 8})
    assert shown(place, "known.png", before=True) is None  # the browser shows the file
    plain = shown(place, "plain.tif", before=True)
    assert plain is not None
    assert plain[20, 20] == pytest.approx((200, 30, 30), abs=6)
    deep, bright = (shown(place, "deep.tif", before=True, stretched=stretched) for stretched in (False, True))
    assert deep is not None
    assert bright is not None
    assert deep.shape == (600, 800)  # there is nothing larger to compare with
    assert deep.max() < 10
    assert bright[300, 10] < 20
    assert bright[300, 790] > 235
    result = shown(place, "plain.tif")
    assert result is not None
    assert result[20, 20] == pytest.approx((55, 225, 225), abs=6)


@pytest.mark.parametrize("stretched", [False, True])
@pytest.mark.parametrize(("damage", "is_mended"), [("emptied", True), ("cut off", True), ("changed", False)])
def test_a_worker_that_has_the_pixels_mends_a_damaged_preview_but_not_what_somebody_changed(
    place: Place, damage: str, is_mended: bool, stretched: bool
) -> None:
    for path in (place.base / "in").iterdir():
        path.unlink()
    ramp = np.tile(np.linspace(20_000, 30_000, 60).astype(np.uint16), (40, 1))
    Image.fromarray(ramp).save(place.base / "in/deep.png")
    job: dict[str, Any] = {"analyses": ["statistics"], "export": {"images": False, "data": ["csv"]}}
    place.run(job=job)
    key = argument(place, "block-00000")["keys"][0]
    path = place.out / f"report/thumbnails/{key}{'-stretched' if stretched else ''}.jpg"
    whole = path.read_bytes()
    damaged = {"emptied": b"", "cut off": whole[:-9], "changed": whole[200:-9]}[damage]
    path.write_bytes(damaged)
    job["analyses"] = ["statistics", "sharpness"]
    place.run(job=job)
    assert len(place.rows) == 1
    assert path.read_bytes() == (whole if is_mended else damaged)
    assert (argument(place, "block-00000")["keys"][0] == key) == (is_mended or stretched)
    assert place.run(job=job).unchanged
    assert path.read_bytes() == (whole if is_mended else damaged)
