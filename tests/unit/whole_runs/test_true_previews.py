"""Whatever was run before, and however it ended: a preview is of the image that it stands for, or says that it isn't.

Numbers come from the cache, profiles are kept, files are replaced by others of their size and put back, chains come and
go, and runs are stopped, killed and lose what wasn't on the disk yet. Each is a way to find an older picture.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

import rayjobs
from actors.cache.disk_cache import DiskCache
from actors.ledger.ledger_rows import FinalInput
from pipelines.models import ImageOperation, ImageStatus, Output
from pipelines.operations import apply_operations
from pipelines.stages.thumbnails import original_key, thumbnail_key
from rayjobs.managers import contact_sheet as sheets
from rayjobs.run.run_loop import RunEnd
from tests.places import Place
from tests.quick_runs import Killed

NAMES = ("deep.png", "kept.png", "plain.png", "scan.tif")
LEVELS = st.sampled_from((40, 80, 120))
CHAINS: dict[str, list[str]] = {"nothing": [], "invert": ["invert"], "gray": ["grayscale"]}
STEPS = st.fixed_dictionaries(
    {
        "levels": st.tuples(*[LEVELS] * len(NAMES)),
        "chain": st.sampled_from(sorted(CHAINS)),
        "images": st.booleans(),
        "color": st.sampled_from(["srgb", "keep"]),
        "end": st.sampled_from(["whole", "whole", "stopped", "killed", "power cut"]),
    }
)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def step(
    chain: str, level: int = 40, *, images: bool = False, color: str = "srgb", end: str = "whole"
) -> dict[str, Any]:
    return {"levels": (level,) * len(NAMES), "chain": chain, "images": images, "color": color, "end": end}


def pixels_of(level: int) -> np.ndarray:
    return np.full((6, 8, 3), (level, 255 - level, 90), np.uint8)


def write(path: Path, level: int) -> None:
    """A picture of that level, whose time is that of the level, too: one that is put back is the file that it was."""
    pixels = pixels_of(level)
    if path.suffix == ".tif":
        tifffile.imwrite(path, pixels, photometric="rgb")
    elif path.stem == "deep":
        Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(path)
    else:
        Image.fromarray(pixels).save(path, icc_profile=SRGB if path.stem == "kept" else None)
    os.utime(path, (1_700_000_000 + level, 1_700_000_000 + level))


def expected(name: str, level: int, chain: str) -> np.ndarray:
    pixels = pixels_of(level)[..., 0] if name == "deep.png" else pixels_of(level)
    made = apply_operations(pixels, [ImageOperation(each) for each in CHAINS[chain]]).pixels
    return np.broadcast_to(made[3, 3], (3,)).astype(float)


def colour(data: bytes) -> np.ndarray:
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(float)
    return pixels.reshape(-1, 3).mean(axis=0)


def call(path: Path) -> Any:
    text = path.read_text()
    return json.loads(f"[{text[text.index('(') + 1 : text.rindex(')')]}]")[-1]


def check_report(out: Path, now: dict[str, Any]) -> None:
    block, rows = (call(out / f"report/data/{name}-00000.js") for name in ("block", "rows"))
    assert sorted(block["names"]) == list(NAMES)
    for name, key, row, level in zip(block["names"], block["keys"], rows, now["levels"], strict=True):
        is_original = key.endswith("-before")
        assert not (is_original and (now["images"] or not CHAINS[now["chain"]]))
        found = colour((out / f"report/thumbnails/{key}.jpg").read_bytes())
        np.testing.assert_allclose(found, expected(name, level, "nothing" if is_original else now["chain"]), atol=5)
        if row[8]:
            found = colour((out / f"report/thumbnails/{row[8][0]}.jpg").read_bytes())
            np.testing.assert_allclose(found, expected(name, level, "nothing"), atol=5)


def check_sheet(out: Path, now: dict[str, Any]) -> None:
    levels = dict(zip(NAMES, now["levels"], strict=True))
    for tile in rayjobs.open_job(out).contact_sheet().tiles:
        name = Path(tile.name).name
        assert tile.picture is not None, tile.instead
        chain = "nothing" if tile.note else now["chain"]
        np.testing.assert_allclose(colour(tile.picture), expected(name, levels[name], chain), atol=5)


def run(place: Place, now: dict[str, Any], cache: DiskCache) -> None:
    for name, level in zip(NAMES, now["levels"], strict=True):
        write(place.base / "in" / name, level)
    job = {
        "operations": CHAINS[now["chain"]],
        "analyses": ["statistics"],
        "read": {"color": now["color"]},
        "cache": "on",
        "export": {"images": {"format": "png"} if now["images"] else False, "data": ["csv"]},
    }
    end = now["end"]
    if end == "whole":
        place.run(job=job, cache=cache)
        check_report(place.out, now)
    elif end == "stopped":
        place.run(job=job, cache=cache, most=2, end=RunEnd.INTERRUPTED)
    else:
        seen: list[int] = []

        def kill(row: ImageStatus) -> None:
            seen.append(row.id)
            if len(seen) > 2:
                raise Killed

        try:
            place.run(job=job, cache=cache, after=kill)
        except Killed:
            if end == "power cut":
                for path in (place.out / ".rayjobs").rglob("*.jpg"):
                    path.write_bytes(path.read_bytes()[: len(seen) % 2 * 200])
    if (place.out / ".rayjobs").exists():
        check_sheet(place.out, now)


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@example(steps=[step("invert"), step("gray"), step("invert"), step("nothing"), step("gray")])
@example(steps=[step("nothing", 40), step("nothing", 80), step("nothing", 40)])
@example(steps=[step("invert", color="keep"), step("gray", color="keep"), step("nothing", color="keep")])
@example(steps=[step("invert", 40, images=True), step("invert", 80, images=True), step("invert", 40, images=True)])
@example(steps=[step("gray", end="killed"), step("invert", end="power cut"), step("gray", 80, end="stopped")])
@given(steps=st.lists(STEPS, min_size=2, max_size=5))
def test_previews_are_of_what_they_stand_for(steps: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory(prefix="rayjobs-previews-") as directory, pytest.MonkeyPatch.context() as patch:
        base = Path(os.path.realpath(directory))
        patch.setenv("RAYJOBS_HOME", str(base / "home"))
        patch.setattr(sheets, "MAKING_S", 60.0)  # on a busy machine, too
        place = Place(base)
        for path in (base / "in").iterdir():
            path.unlink()
        cache = DiskCache(base / "cache", max_bytes=10**8)
        for now in [*steps, steps[-1] | {"end": "whole"}]:
            run(place, now, cache)


SOURCE = FinalInput(
    id=1,
    seq=0,
    path=b"/a/x.png",
    size=70,
    mtime_ns=5,
    status="done",
    reason=None,
    message=None,
    degraded=None,
    width=8,
    height=6,
    outputs=(),
    values="[1]",
)


def other_sources() -> Iterator[FinalInput]:
    yield replace(SOURCE, path=b"/a/x.png 70")
    yield replace(SOURCE, path=b"/a/\xff.png")
    yield replace(SOURCE, size=705)
    yield replace(SOURCE, mtime_ns=-5)


def test_keys_tell_all_that_decides_a_picture_and_nothing_else() -> None:
    image = Output(product="image", path="images/x.png", sha256="ab" * 32, bytes=3)
    sources = [SOURCE, *other_sources()]
    keys = [thumbnail_key(each, pixels, None) for each in sources for pixels in ("", "a", "b")]
    keys += [thumbnail_key(replace(SOURCE, values=values), "a", None) for values in ("", "[2]")]
    keys += [original_key(each) for each in sources] + [thumbnail_key(SOURCE, "a", image)]
    assert len(set(keys)) == len(keys)
    moved = replace(SOURCE, id=9, seq=4, status="failed", width=None)
    assert thumbnail_key(moved, "a", None) == thumbnail_key(SOURCE, "a", None)
    assert original_key(replace(moved, values="[2]")) == original_key(SOURCE)
    assert {thumbnail_key(each, pixels, image) for each in sources for pixels in "ab"} == {"ab" * 16}


def test_a_file_that_was_replaced_meanwhile_has_no_preview_under_the_name_of_the_one_before(place: Place) -> None:
    """The worker's preview is lost, so the report makes it from the file: that is another one by now."""
    for path in (place.base / "in").iterdir():
        write(path, 40)

    def swap(row: ImageStatus) -> None:
        if len(place.rows) == 3:
            write(place.base / "in/p1.png", 80)
            for left in (place.out / ".rayjobs/tmp").rglob("*.jpg"):
                left.unlink()

    job = {"operations": [], "export": {"images": False, "data": ["csv"]}}
    place.run(job=job, after=swap)
    block, rows = (call(place.out / f"report/data/{name}-00000.js") for name in ("block", "rows"))
    assert [bool(key) for key in block["keys"]] == [True, False, True, True]
    assert "the file changed since the job was planned" in rows[1][2]
    sheet = rayjobs.open_job(place.out).contact_sheet()
    assert [tile.picture is not None for tile in sheet.tiles] == [True, False, True, True]
    assert "no picture: the file changed since the job was planned" in sheet._repr_html_()
    write(place.base / "in/p1.png", 40)
    place.run(job=job | {"analyses": ["statistics"]})
    block = call(place.out / "report/data/block-00000.js")
    found = colour((place.out / f"report/thumbnails/{block['keys'][1]}.jpg").read_bytes())
    np.testing.assert_allclose(found, (40, 215, 90), atol=5)
