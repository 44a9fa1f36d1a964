"""Thumbnails for the report: small, upright, honest, and never at the price of much memory."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import FailedReason, ImageError
from pipelines.image_io import DecodedImage, ImageHeader, ReadPolicy
from pipelines.models import ImageOperation, Output, WorkItem
from pipelines.operations.image_geometry import ImageGeometry
from pipelines.stages import thumbnails
from pipelines.stages.image_stages import Rendered
from pipelines.stages.publish import Publisher
from pipelines.stages.recipe import Recipe
from pipelines.stages.thumbnails import (
    LARGE_PX,
    THUMBNAIL_PX,
    Thumbnails,
    is_whole,
    leave_original,
    leave_thumbnails,
    make_thumbnails,
    original_key,
    smaller,
    thumbnail_key,
    thumbnails_of,
)
from pipelines.stages.worker_journal import WorkerJournal


def pixels_of(data: bytes | None) -> np.ndarray:
    assert data is not None
    return np.asarray(Image.open(BytesIO(data))).astype(float)


def size_of(made: Thumbnails) -> tuple[int, int]:
    return Image.open(BytesIO(made.plain)).size


def test_a_picture_is_shrunk_and_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (1600, 800), "red").save(tmp_path / "a.jpg", exif=exif)
    made = make_thumbnails(tmp_path / "a.jpg")
    assert size_of(made) == (THUMBNAIL_PX // 2, THUMBNAIL_PX)
    assert made.stretched is None


def test_what_is_no_picture_or_another_one_has_none_and_it_is_said_why(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"no picture")
    for file in (path, tmp_path / "missing.jpg"):
        with pytest.raises(ImageError):
            make_thumbnails(file)
    Image.new("RGB", (20, 10), "red").save(path)
    size, time_ns = path.stat().st_size, path.stat().st_mtime_ns
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert size_of(make_thumbnails(path, size=size, mtime_ns=time_ns, sha256=sha256)) == (20, 10)
    for other in ({"size": size + 1}, {"mtime_ns": time_ns + 1}, {"sha256": "0" * 64}):
        with pytest.raises(ImageError, match="the file changed since") as error:
            make_thumbnails(path, **other)
        assert error.value.reason is FailedReason.CHANGED


@pytest.mark.parametrize(
    ("fault", "reason", "told"),
    [
        (RuntimeError("wavelet 7"), FailedReason.CORRUPT, "can't be shown: RuntimeError: wavelet 7"),
        (MemoryError(), FailedReason.OUT_OF_MEMORY, "can't be shown: MemoryError"),
    ],
    ids=["fault", "memory"],
)
@pytest.mark.parametrize("place", ["probe_header", "decode_image", "thumbnails_of"])
def test_whatever_a_decoder_does_is_told_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, fault: Exception, reason: FailedReason, told: str
) -> None:
    Image.new("RGB", (20, 10), "red").save(tmp_path / "a.jpg")

    def fail(*given: object, **options: object) -> None:
        raise fault

    monkeypatch.setattr(thumbnails, place, fail)
    with pytest.raises(ImageError, match=told) as error:
        make_thumbnails(tmp_path / "a.jpg")
    assert error.value.reason is reason


@pytest.mark.parametrize("size", [(1, 1), (700, 500), (3, LARGE_PX), (LARGE_PX, LARGE_PX)])
def test_a_thumbnail_can_be_made_smaller_if_it_is_whole(tmp_path: Path, size: tuple[int, int]) -> None:
    written = BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(written, "JPEG", quality=90)
    jpeg, path = written.getvalue(), tmp_path / "a.jpg"
    path.write_bytes(jpeg)
    small = pixels_of(smaller(path, 160))
    assert small.reshape(-1, 3).mean(axis=0) == pytest.approx((200, 30, 30), abs=3)
    assert max(small.shape[:2]) == min(160, max(size))
    assert is_whole(path)
    for cut in (*range(0, len(jpeg), max(1, len(jpeg) // 40)), len(jpeg) - 1):
        path.write_bytes(jpeg[:cut])
        assert not is_whole(path)
    for damaged in (b"", jpeg[:2], jpeg[: len(jpeg) // 2], bytes(len(jpeg))):
        path.write_bytes(damaged)
        with pytest.raises(ImageError):
            smaller(path, 160)
    path.unlink()
    with pytest.raises(ImageError, match="gone"):
        smaller(path, 160)


def test_jpeg_counts_as_small_as_its_decoder_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Image.new("RGB", (3200, 3200), "blue")
    picture.save(tmp_path / "a.jpg")
    picture.save(tmp_path / "a.tif")
    monkeypatch.setattr(thumbnails, "THUMBNAIL_BYTES", 8 << 20)
    assert size_of(make_thumbnails(tmp_path / "a.jpg")) == (THUMBNAIL_PX, THUMBNAIL_PX)
    with pytest.raises(ImageError, match=r"it would take [\d,]+ bytes of memory, more than 8,388,608"):
        make_thumbnails(tmp_path / "a.tif")


@pytest.mark.parametrize(("dtype", "low", "high"), [("uint16", 300, 900), ("float32", 0.001, 0.004)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_what_is_too_dark_to_see_is_stretched_beside_the_plain_one(
    dtype: str, low: float, high: float, channels: int
) -> None:
    ramp = np.linspace(low, high, 256).astype(dtype)
    picture = np.tile(ramp, (64, 1))
    if channels > 1:
        picture = np.repeat(picture[..., None], channels, axis=2)
    if channels == 4:
        picture[..., 3] = 65535 if dtype == "uint16" else 1
    made = thumbnails_of(picture, 1)
    plain, stretched = pixels_of(made.plain), pixels_of(made.stretched)
    assert plain.max() < 10
    assert stretched.min() < 4
    assert stretched.max() > 251
    assert np.abs(stretched[30].reshape(256, -1)[:, 0] - np.linspace(0, 255, 256)).max() < 8


def test_floats_that_are_no_numbers_and_even_pictures_are_shown_too() -> None:
    odd = np.full((20, 20), 0.5, np.float32)
    odd[0, 0], odd[1, 1] = np.nan, np.inf
    assert pixels_of(thumbnails_of(odd, 1).plain)[10:, 10:] == pytest.approx(128, abs=3)
    even = np.full((20, 20), 30000, np.uint16)
    assert pixels_of(thumbnails_of(even, 1).stretched) == pytest.approx(117, abs=2)


def test_what_is_transparent_lies_on_a_checkerboard() -> None:
    picture = np.zeros((64, 64, 4), np.uint8)
    picture[32:, :] = (255, 0, 0, 255)
    shown = pixels_of(thumbnails_of(picture, 1).plain)
    assert shown[3, 3] == pytest.approx(255, abs=6)
    assert shown[3, 11] == pytest.approx(204, abs=6)
    assert shown[50, 11] == pytest.approx((254, 0, 0), abs=6)


def rendered(pixels: np.ndarray, icc: bytes | None = None) -> Rendered:
    header = ImageHeader(format="png", width=8, height=8, dtype="uint8", channels=3, file_bytes=1)
    source = DecodedImage(pixels=pixels, header=header, icc=icc)
    return Rendered(pixels, ImageGeometry(orientation=6), source)


def test_workers_leave_them_unless_they_are_there_or_colours_are_unknown(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    publisher = Publisher(tmp_path, temporary, WorkerJournal(temporary))
    item = WorkItem(id=7, path=b"/a.png", size=300, mtime_ns=0, name="a", title="a.png", recipe=1)
    image = Output(product="image", path="images/a.png", sha256="ab" * 32, bytes=3, mtime_ns=0)
    picture = np.full((800, 400, 3), 99, np.uint8)

    def left() -> list[str]:
        return sorted(path.name for path in temporary.glob("*.jpg"))

    recipe = Recipe(id=1, read=ReadPolicy(), pixels="chain", operations=(ImageOperation("invert"),))
    leave_thumbnails(item, rendered(picture, icc=b"profile"), [image], recipe, publisher)
    leave_thumbnails(item, rendered(picture[:0]), [image], recipe, publisher)
    leave_original(item, rendered(picture), recipe, publisher)  # browsers show a PNG
    assert left() == []
    leave_thumbnails(item, rendered(picture), [image], recipe, publisher)
    leave_thumbnails(item, rendered(picture.astype(np.uint16)), [], recipe, publisher)
    key = thumbnail_key(item, "chain", None)
    assert left() == sorted([f"{'ab' * 16}.jpg", f"{key}.jpg", f"{key}-stretched.jpg"])
    assert pixels_of((temporary / f"{'ab' * 16}.jpg").read_bytes()).shape[:2] == (200, 400)  # upright
    assert pixels_of((temporary / f"{key}.jpg").read_bytes()).shape[:2] == (400, 800)  # there is no file to show
    (tmp_path / "report/thumbnails").mkdir(parents=True)
    (tmp_path / f"report/thumbnails/{'cd' * 16}.jpg").write_bytes(b"\xff\xd8 there \xff\xd9")
    leave_thumbnails(item, rendered(picture), [replace(image, sha256="cd" * 32)], recipe, publisher)
    assert len(left()) == 3
    other = replace(item, mtime_ns=1)
    for name in (thumbnail_key(other, "chain", None), original_key(other), f"{original_key(other)}-stretched"):
        (tmp_path / f"report/thumbnails/{name}.jpg").write_bytes(b"\xff\xd8 there \xff\xd9")
    leave_thumbnails(other, rendered(picture), [], recipe, publisher)
    leave_original(other, rendered(picture.astype(np.uint16)), recipe, publisher)
    assert len(left()) == 3
    leave_thumbnails(other, rendered(picture), [], replace(recipe, pixels="another chain"), publisher)
    leave_original(item, rendered(picture.astype(np.uint16)), recipe, publisher)
    assert f"{original_key(item)}-stretched.jpg" in left()
    assert len(left()) == 6
