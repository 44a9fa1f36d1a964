"""JPEGs that are cut off: wherever the cut is, what is given back was decoded, and is a picture of what is there."""

from __future__ import annotations

import re
from io import BytesIO
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import FailedReason, ImageError
from pipelines.image_io import ReadPolicy, decode_image
from tests.corpus import PHOTO

SALVAGE = ReadPolicy(truncated="salvage")


def progressive() -> bytes:
    stream = BytesIO()
    Image.fromarray(PHOTO).save(stream, "JPEG", quality=80, progressive=True)
    return stream.getvalue()


def segments(data: bytes) -> list[int]:
    """Where the markers between and after the scans begin."""
    scan = data.index(b"\xff\xda")
    return [scan + found.start() for found in re.finditer(rb"\xff[\xc4\xda]", data[scan:])][1:]


def test_a_cut_inside_of_a_segment_costs_no_more_than_one_before_it() -> None:
    """libjpeg gives up on half a Huffman table; simplejpeg then returned what lay in memory, as salvaged."""
    data = progressive()
    for start in segments(data):
        expected = decode_image(data[:start], SALVAGE).pixels
        (length,) = (int.from_bytes(data[start + 2 : start + 4], "big"),)
        for end in {start + 1, start + 3, start + 4, start + 2 + length // 2, start + 1 + length}:
            found = decode_image(data[:end], SALVAGE)
            assert np.array_equal(found.pixels, expected), (start, end)
            assert found.degraded is not None
            assert found.degraded.startswith("truncated")


def test_more_of_a_progressive_file_is_a_better_picture() -> None:
    data = progressive()
    whole = decode_image(data, ReadPolicy()).pixels.astype(int)
    errors = [np.abs(decode_image(data[:at], SALVAGE).pixels - whole).mean() for at in segments(data)]
    assert errors[-1] < errors[0] / 2


@pytest.mark.parametrize("truncated", ["salvage", "flag"])
def test_a_table_that_the_decoder_gives_up_on_is_no_picture(truncated: Literal["salvage", "flag"]) -> None:
    data = progressive()
    table = next(at for at in segments(data) if data[at + 1] == 0xC4)
    broken = data[: table + 5] + b"\xff" * 16 + data[table + 21 : -2]

    with pytest.raises(ImageError) as caught:
        decode_image(broken, ReadPolicy(truncated=truncated))
    assert caught.value.reason is FailedReason.CORRUPT
