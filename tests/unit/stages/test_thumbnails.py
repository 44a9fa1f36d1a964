"""Thumbnails for the report: small, upright, and never at the price of much memory."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from pipelines.stages import thumbnails
from pipelines.stages.thumbnails import THUMBNAIL_PX, make_thumbnail


def size_of(data: bytes | None) -> tuple[int, int] | None:
    return None if data is None else Image.open(BytesIO(data)).size


def test_a_picture_is_shrunk_and_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (1600, 800), "red").save(tmp_path / "a.jpg", exif=exif)
    assert size_of(make_thumbnail(tmp_path / "a.jpg")) == (THUMBNAIL_PX // 2, THUMBNAIL_PX)


def test_what_is_no_picture_has_none(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    assert make_thumbnail(tmp_path / "a.jpg") is None
    assert make_thumbnail(tmp_path / "missing.jpg") is None


def test_jpeg_counts_as_small_as_its_decoder_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Image.new("RGB", (3200, 3200), "blue")
    picture.save(tmp_path / "a.jpg")
    picture.save(tmp_path / "a.tif")
    monkeypatch.setattr(thumbnails, "THUMBNAIL_BYTES", 8 << 20)
    assert size_of(make_thumbnail(tmp_path / "a.jpg")) == (THUMBNAIL_PX, THUMBNAIL_PX)
    assert make_thumbnail(tmp_path / "a.tif") is None
