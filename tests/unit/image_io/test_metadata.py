"""What outputs say of their picture: kept as it was, true of the new pixels, and without places where asked."""

from __future__ import annotations

import struct
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.image_io import EncodeOptions, ReadPolicy, decode_image, encode_image, encoding_losses
from pipelines.image_io.exif_block import ExifBlock, Field, exif_bytes, parse_exif
from pipelines.image_io.pixel_size import pixel_size_um
from pipelines.models import ImageOperation
from pipelines.operations import apply_operations
from pipelines.operations.geometry import resize
from tests import exiftool
from tests.corpus import PHOTO, RGB, saved, tiff
from tests.exiftool import needs_exiftool
from tests.trust import hold

KEEP = ReadPolicy(color="keep")
SUFFIXES = {"jpeg": ".jpg", "png": ".png", "tiff": ".tif", "webp": ".webp", "avif": ".avif"}
DESCRIBING = {
    "IFD0:Make": "Maker",
    "IFD0:Model": "Mödel",
    "IFD0:Artist": "Äda",
    "IFD0:Copyright": "© nobody",
    "IFD0:XPTitle": "日本 title",
    "IFD0:Rating": 4,
    "ExifIFD:ExposureTime": 0.004,
    "ExifIFD:ISO": 250,
    "ExifIFD:DateTimeOriginal": "2024:02:03 04:05:06",
    "ExifIFD:UserComment": "a comment",
    "ExifIFD:LensInfo": "24 70 2.8 2.8",
    "ExifIFD:ShutterSpeedValue": 0.004,
    "ExifIFD:OffsetTime": "+02:00",
    "XMP-dc:Title": "A title",
    "XMP-dc:Subject": ["one", "two"],
    "XMP-xmp:CreatorTool": "tool",
    "IPTC:Keywords": ["tree", "house"],
    "IPTC:City": "Zürich",
    "IPTC:By-line": "Bea",
}
PLACES = {
    "GPS:GPSLatitude": 48.1375,
    "GPS:GPSLatitudeRef": "N",
    "GPS:GPSLongitude": 11.575,
    "GPS:GPSLongitudeRef": "E",
    "XMP-exif:GPSAltitude": 519,
    "XMP-exif:GPSMapDatum": "WGS-84",
}
OF_PIXELS = {
    "ExifIFD:ExifImageWidth": 240,
    "ExifIFD:ExifImageHeight": 160,
    "ExifIFD:ColorSpace": 65535,
    "InteropIFD:InteropIndex": "R03",
    "ExifIFD:SubjectArea": "10 20 30 40",
    "ExifIFD:FocalPlaneXResolution": 5000,
    "XMP-tiff:ImageWidth": 240,
    "XMP-tiff:ImageHeight": 160,
    "XMP-exif:ExifImageWidth": 240,
}


Pair = tuple[str, str]
"""Format of the source and of the output."""
PAIRS = [(origin, format) for origin in SUFFIXES for format in SUFFIXES]
CREDITS = {"artist": "\u017baneta <&>", "copyright": "\u00a9 2024 \u017baneta"}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of each format with all of that, written by exiftool."""
    directory = tmp_path_factory.mktemp("sources")
    found = {format: directory / f"source{suffix}" for format, suffix in SUFFIXES.items()}
    for format, path in found.items():
        path.write_bytes(saved(PHOTO, format.upper(), dpi=(300, 150)))
    tags = DESCRIBING | PLACES | OF_PIXELS
    listed = [
        f"{name}={one}" for name, value in tags.items() for one in (value if isinstance(value, list) else [value])
    ]
    exiftool.write(*found.values(), tags=["IPTC:CodedCharacterSet=UTF8", *listed])
    return found


class Outputs:
    """Each source made half as large and written by us in each format, as exiftool reads it."""

    def __init__(self, sources: dict[str, Path], directory: Path, **options: Any) -> None:
        self.paths = {pair: directory / f"{pair[0]}{SUFFIXES[pair[1]]}" for pair in PAIRS}
        for (origin, format), path in self.paths.items():
            decoded = decode_image(sources[origin].read_bytes(), KEEP)
            chosen = EncodeOptions(format=format, **options)  # type: ignore[arg-type]
            path.write_bytes(encode_image(resize(decoded.pixels, max_side=120), chosen, source=decoded))
        self.tags = dict(zip(self.paths, exiftool.read(*self.paths.values()), strict=True))


@pytest.fixture(scope="module")
def kept(sources: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    return Outputs(sources, tmp_path_factory.mktemp("kept"), metadata="keep")


@pytest.fixture(scope="module")
def without_places(sources: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    return Outputs(sources, tmp_path_factory.mktemp("placeless"), metadata="keep_but_gps")


@needs_exiftool
def test_everything_that_describes_the_picture_is_kept(sources: dict[str, Path], kept: Outputs) -> None:
    """From and to every format that has a place for it; what was lost or changed on the way is counted."""
    before = dict(zip(sources, exiftool.read(*sources.values()), strict=True))
    cases, wrong = 0, []
    for (origin, format), after in kept.tags.items():
        for name in (*DESCRIBING, *PLACES):
            if name not in before[origin] or (name.startswith("IPTC") and format in ("webp", "avif")):
                continue
            cases += 1
            if after.get(name) != before[origin][name]:
                wrong.append(f"{origin} -> {format}: {name} was {before[origin][name]}, is {after.get(name)}")
    assert wrong == []
    hold("metadata kept", cases=cases, worst=len(wrong))


@needs_exiftool
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_what_is_said_of_pixels_is_true(pair: Pair, kept: Outputs) -> None:
    after = kept.tags[pair]
    for name in ("ExifIFD:ExifImageWidth", "XMP-tiff:ImageWidth", "XMP-exif:ExifImageWidth"):
        assert after.get(name) == 120
    for name in ("ExifIFD:ExifImageHeight", "XMP-tiff:ImageHeight"):
        assert after.get(name) == 80
    has_profile = any(name.startswith("ICC_Profile") for name in after)
    assert after["ExifIFD:ColorSpace"] == (0xFFFF if has_profile else 1)
    assert "InteropIFD:InteropIndex" not in after
    assert "ExifIFD:SubjectArea" not in after
    assert "ExifIFD:FocalPlaneXResolution" not in after
    assert not any(name.startswith("IFD1") or "Thumbnail" in name for name in after)
    assert "ExifTool:Error" not in after


@needs_exiftool
@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair[0] in ("jpeg", "png", "tiff")], ids="-".join)
def test_resolution_is_kept(pair: Pair, kept: Outputs) -> None:
    after = kept.tags[pair]
    if pair[1] == "png":
        assert (after["PNG-pHYs:PixelsPerUnitX"], after["PNG-pHYs:PixelsPerUnitY"]) == (11811, 5906)
        return
    found = {name.split(":")[1]: value for name, value in after.items() if "Resolution" in name}
    assert found["XResolution"] == pytest.approx(300, abs=0.5)
    assert found["YResolution"] == pytest.approx(150, abs=0.5)


@needs_exiftool
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_places_are_left_out_and_nothing_else(pair: Pair, kept: Outputs, without_places: Outputs) -> None:
    after = without_places.tags[pair]
    assert not [name for name in after if "gps" in name.lower()]
    assert b"WGS-84" not in without_places.paths[pair].read_bytes()
    assert b"GPSMap" not in without_places.paths[pair].read_bytes()
    assert {name: kept.tags[pair][name] for name in kept.tags[pair] if name in DESCRIBING} == {
        name: after[name] for name in after if name in DESCRIBING
    }


@needs_exiftool
@pytest.mark.parametrize("metadata", ["strip", "keep"])
def test_credits_are_set(metadata: str, sources: dict[str, Path], tmp_path: Path) -> None:
    source = decode_image(sources["jpeg"].read_bytes(), KEEP)
    paths = {format: tmp_path / f"a{suffix}" for format, suffix in SUFFIXES.items()}
    for format, path in paths.items():
        chosen = EncodeOptions(format=format, metadata=metadata, **CREDITS)  # type: ignore[arg-type]
        path.write_bytes(encode_image(source.pixels, chosen, source=source))
    for format, after in zip(paths, exiftool.read(*paths.values()), strict=True):
        assert (after["IFD0:Artist"], after["IFD0:Copyright"]) == (CREDITS["artist"], CREDITS["copyright"])
        if metadata == "strip":
            assert "IFD0:Make" not in after
            continue
        assert after["XMP-dc:Creator"] == [CREDITS["artist"]]
        assert CREDITS["copyright"] in str(after["XMP-dc:Rights"])
        if format not in ("webp", "avif"):
            assert after["IPTC:By-line"] == CREDITS["artist"]
            assert after["IPTC:CopyrightNotice"] == CREDITS["copyright"]


def test_a_makers_note_stays_at_its_offset() -> None:
    """Offsets inside of it, which only its maker knows, stay true."""
    note = bytes(range(200))
    exif = Image.Exif()
    exif[0x010F] = "Maker of cameras"
    exif.get_ifd(0x8769).update({0x927C: note, 0x9003: "2024:02:03 04:05:06", 0xA002: 53, 0x9286: b"ASCII\0\0\0hello"})
    data = saved(RGB, "JPEG", exif=exif)
    before = decode_image(data, KEEP)
    assert before.exif is not None
    for format in ("jpeg", "png", "webp", "avif"):
        options = EncodeOptions(format=format, metadata="keep", copyright="x" * 20)  # type: ignore[arg-type]
        written = decode_image(encode_image(RGB[:20], options, source=before), KEEP)
        assert written.exif is not None
        assert written.exif.index(note) == before.exif.index(note)


def test_thumbnail_and_traces_of_gps_are_gone() -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8825).update({1: "N", 29: "2024:02:03"})
    base = exif.tobytes().removeprefix(b"Exif\0\0")
    source = decode_image(saved(RGB, "JPEG", exif=b"Exif\0\0" + base), KEEP)
    for metadata, there in (("keep", True), ("keep_but_gps", False), ("strip", False)):
        options = EncodeOptions(format="jpeg", metadata=metadata)  # type: ignore[arg-type]
        assert (b"2024:02:03" in encode_image(RGB, options, source=source)) == there


def test_what_has_no_place_is_said() -> None:
    iptc = b"\x1c\x02\x50\x00\x03Bea"
    photoshop = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(iptc)) + iptc
    data = saved(RGB, "JPEG")
    data = data[:2] + b"\xff\xed" + struct.pack(">H", len(photoshop) + 2) + photoshop + data[2:]
    source = decode_image(data, KEEP)
    assert source.header.iptc == iptc
    for format, said in (("webp", True), ("avif", True), ("png", False), ("jpeg", False), ("tiff", False)):
        options = EncodeOptions(format=format, metadata="keep")  # type: ignore[arg-type]
        lost = encoding_losses(RGB, options, source=source)
        assert any("IPTC" in text for text in lost) == said
        again = decode_image(encode_image(RGB, options, source=source), KEEP)
        assert again.header.iptc == (None if said else iptc)


def test_xmp_that_may_hold_places_in_other_words_is_left_out() -> None:
    xmp = b"<x:xmpmeta><rdf:RDF><rdf:Description note='my GPS track'/></rdf:RDF></x:xmpmeta>"
    data = saved(RGB, "WEBP", lossless=True, xmp=xmp)
    source = decode_image(data, KEEP)
    options = EncodeOptions(format="jpeg", metadata="keep_but_gps")
    assert b"track" not in encode_image(RGB, options, source=source)
    assert any("XMP left out" in text for text in encoding_losses(RGB, options, source=source))


def test_a_big_tiff_has_its_directories_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.image_io import image_encoding, tiff_writer

    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8769)[0x9003] = "2024:02:03 04:05:06"
    exif.get_ifd(0x8825)[1] = "N"
    source = decode_image(saved(RGB, "JPEG", exif=exif, dpi=(300, 300)), KEEP)
    files = []
    for limit in (1 << 32, 0):
        monkeypatch.setattr(tiff_writer, "_BIG_FROM", limit)
        target = BytesIO()
        options = EncodeOptions(format="tiff", metadata="keep", artist="me")
        image_encoding.encode_bands(target, [RGB], RGB.shape, options, source=source, orientation=6)
        files.append(target.getvalue())
    small, big = (decode_image(data, KEEP) for data in files)
    assert [data[2] for data in files] == [42, 43]
    np.testing.assert_array_equal(big.pixels, RGB)
    assert (big.orientation, big.header.resolution) == (small.orientation, small.header.resolution) == (6, (300, 300))
    blocks = [parse_exif(one.exif or b"") for one in (small, big)]
    assert blocks[0] is not None
    assert blocks[1] is not None
    for found in blocks:
        assert found is not None
        assert found.main[0x010F].data == b"Maker\0"
        assert found.exif[0x9003].data == b"2024:02:03 04:05:06\0"
        assert found.gps[1].data == b"N\0"


KINDS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 9: 4, 10: 8, 12: 8}
fields = st.sampled_from(sorted(KINDS)).flatmap(
    lambda kind: st.integers(1, 9).flatmap(
        lambda count: st.binary(min_size=count * KINDS[kind], max_size=count * KINDS[kind]).map(
            lambda data: Field(kind, data)
        )
    )
)
directories = st.dictionaries(st.integers(1, 0x8000), fields, max_size=8)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from("<>"), directories, directories, directories)
def test_blocks_come_back_as_they_were(order: str, main: Any, exif: Any, gps: Any) -> None:
    written = exif_bytes(ExifBlock(order, main, exif, gps))
    found = parse_exif(written)
    if not (main or exif or gps):
        assert found is None
        return
    assert found is not None
    for ours, theirs in ((main, found.main), (exif, found.exif), (gps, found.gps)):
        assert {tag: (f.kind, f.data) for tag, f in ours.items()} == {
            tag: (f.kind, f.data) for tag, f in theirs.items()
        }
    assert exif_bytes(found) == written


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"II*\0", b"MM\0*", b"II+\0", b""]))
def test_any_bytes_are_a_block_or_none(data: bytes, head: bytes) -> None:
    found = parse_exif(head + data)
    assert found is None or isinstance(exif_bytes(found), bytes)


def test_pillow_reads_what_we_write() -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8769)[0x9003] = "2024:02:03 04:05:06"
    source = decode_image(saved(RGB, "JPEG", exif=exif), KEEP)
    for format in SUFFIXES:
        data = encode_image(
            np.ascontiguousarray(RGB), EncodeOptions(format=format, metadata="keep", artist="me"), source=source
        )  # type: ignore[arg-type]
        with Image.open(BytesIO(data)) as image:
            read = image.getexif()
        assert (read[0x010F], read[0x013B], read.get_ifd(0x8769)[0x9003]) == ("Maker", "me", "2024:02:03 04:05:06")


def microscope_tiff(writer: str) -> bytes:
    """A TIFF of one picture whose description tells of more, 0.5 um a pixel."""
    target = BytesIO()
    measured = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
    if writer == "ImageJ":
        measured |= {"metadata": None, "description": "ImageJ=1.54\nimages=3\nslices=3\nunit=micron\n"}  # type: ignore[dict-item]
    elif writer == "OME-XML":
        measured |= {"metadata": None, "description": "<OME><Pixels PhysicalSizeX='0.5' SizeZ='3'/></OME>\n"}  # type: ignore[dict-item]
    tifffile.imwrite(target, RGB, photometric="rgb", **measured)
    return target.getvalue()


@pytest.mark.parametrize("writer", ["ImageJ", "OME-XML", "tifffile"])
def test_descriptions_of_structure_stay_with_their_file(writer: str) -> None:
    source = decode_image(microscope_tiff(writer), KEEP)
    for format in (*SUFFIXES, "original"):
        options = EncodeOptions(format=format, metadata="keep")  # type: ignore[arg-type]
        lost = encoding_losses(RGB, options, source=source)
        assert [text for text in lost if writer in text and "description" in text]
        written = encode_image(RGB, options, source=source)
        for sign in (b"ImageJ=", b"OME>", b'{"shape"'):
            assert sign not in written
        assert decode_image(written, KEEP).header.frames == 1


def test_other_descriptions_are_kept() -> None:
    source = decode_image(tiff(RGB, description="a cell, OME> as text"), KEEP)
    options = EncodeOptions(format="tiff", metadata="keep")
    assert b"a cell, OME> as text" in encode_image(RGB, options, source=source)
    assert encoding_losses(RGB, options, source=source) == ()


@pytest.mark.parametrize("operations", [
    [("resize", {"max_side": 20})], [("crop", {"y": 0, "width": 20, "height": 20})], [("rotate", {"angle": 90})],
    [("resize", {"width": 30, "height": 90, "mode": "exact"})], [],
], ids=str)  # fmt: skip
@pytest.mark.parametrize("size_um", [0.0013, 0.5, 370.0])
def test_a_measured_resolution_follows_the_scale(operations: list[Any], size_um: float) -> None:
    """Twice: what is written is read, made smaller and written again."""
    pixels = RGB
    data = tiff(pixels, resolution=(1e4 / size_um, 1e4 / size_um), resolutionunit="CENTIMETER")
    sizes = (size_um, size_um)
    for _ in range(2):
        source = decode_image(data, KEEP)
        result = apply_operations(source.pixels, [ImageOperation(*step) for step in operations])
        options = EncodeOptions(format="tiff", metadata="keep")
        data = encode_image(result.pixels, options, source=source, scale=result.scale)
        assert result.scale is not None
        sizes = (sizes[0] * result.scale[0], sizes[1] * result.scale[1])
        assert pixel_size_um(data) == pytest.approx(sizes, rel=1e-5)


def test_a_measure_of_unknown_scale_is_left_out_and_said_and_a_print_stays() -> None:
    options = EncodeOptions(format="tiff", metadata="keep")
    source = decode_image(tiff(RGB, resolution=(20_000, 20_000), resolutionunit="CENTIMETER"), KEEP)
    assert pixel_size_um(encode_image(RGB, options, source=source, scale=None)) is None
    assert any("resolution" in text for text in encoding_losses(RGB, options, source=source, scale=None))
    for data in (saved(RGB, "TIFF", dpi=(300, 300)), saved(RGB, "PNG", dpi=(300, 300))):
        source = decode_image(data, KEEP)
        for scale in (None, (4.0, 4.0)):
            written = encode_image(RGB, options, source=source, scale=scale)
            assert decode_image(written, KEEP).header.resolution == pytest.approx((300, 300), rel=1e-3)


def test_a_measure_is_turned_with_the_pixels() -> None:
    data = tiff(RGB, resolution=(20_000, 10_000), resolutionunit="CENTIMETER", extratags=[(274, 3, 1, 6, True)])
    source = decode_image(data, KEEP)
    result = apply_operations(source.pixels, [ImageOperation("auto_orient", {})], orientation=source.orientation)
    options = EncodeOptions(format="tiff", metadata="keep")
    for pixels, orientation, size in ((source.pixels, 6, (1.0, 0.5)), (result.pixels, result.orientation, (0.5, 1.0))):
        written = encode_image(pixels, options, source=source, orientation=orientation)
        assert pixel_size_um(written) == pytest.approx(size)


PACKET = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
    b'dc:format="image/tiff"%s>%s</rdf:Description></rdf:RDF></x:xmpmeta>'
)


@pytest.mark.parametrize(
    "said",
    [
        PACKET % (b" dc:rights=\"Old\" dc:creator='Old'", b""),
        PACKET % (b' tiff:Artist="Old" tiff:Copyright="Old"', b"<dc:creator/>"),
        PACKET % (b"", b"<tiff:Artist>Old</tiff:Artist><tiff:Copyright><rdf:Alt>Old</rdf:Alt></tiff:Copyright>"),
        PACKET % (b"", b'<dc:rights rdf:parseType="Resource">Old</dc:rights>\n<dc:creator>Old</dc:creator >'),
    ],
    ids=["attributes", "attributes of tiff", "elements of tiff", "elements"],
)
def test_credits_are_said_once_in_xmp(said: bytes) -> None:
    source = decode_image(saved(RGB, "PNG"), KEEP)
    source = replace(source, header=replace(source.header, xmp=said))
    options = EncodeOptions(format="tiff", metadata="keep", artist="New", copyright="Mine")
    xmp = decode_image(encode_image(RGB, options, source=source), KEEP).header.xmp
    assert xmp is not None
    assert b"Old" not in xmp
    tree = ElementTree.fromstring(xmp)
    described = tree[0][0]
    names = [child.tag for child in described] + list(described.attrib)
    for name in ("rights", "creator"):
        assert names.count(f"{{http://purl.org/dc/elements/1.1/}}{name}") == 1
    assert described.get("{http://purl.org/dc/elements/1.1/}format") == "image/tiff"


def test_xmp_that_cannot_be_credited_is_left_out_and_said() -> None:
    source = decode_image(saved(RGB, "PNG"), KEEP)
    source = replace(source, header=replace(source.header, xmp=(PACKET % (b"", b"")).decode().encode("utf-16")))
    options = EncodeOptions(format="tiff", metadata="keep", artist="New")
    assert any("XMP left out" in text for text in encoding_losses(RGB, options, source=source))
    assert decode_image(encode_image(RGB, options, source=source), KEEP).header.xmp is None


def test_credits_beyond_latin_1_make_iptc_utf_8() -> None:
    def one(record: int, number: int, value: bytes) -> bytes:
        return struct.pack(">BBBH", 0x1C, record, number, len(value)) + value

    city, thumbs = "Z\u00fcrich".encode("latin-1"), bytes(range(128, 160))
    iptc = one(1, 0, b"\0\4") + one(2, 0, b"\0\4") + one(2, 80, b"Old") + one(2, 90, city) + one(2, 125, thumbs)
    source = decode_image(saved(RGB, "PNG"), KEEP)
    source = replace(source, header=replace(source.header, iptc=iptc))
    options = EncodeOptions(format="tiff", metadata="keep", artist="J\u00fcrgen \u0141")
    written = decode_image(encode_image(RGB, options, source=source), KEEP).header.iptc
    assert written is not None
    for expected in (
        one(1, 90, b"\x1b%G"), one(2, 80, "J\u00fcrgen \u0141".encode()), one(2, 90, "Z\u00fcrich".encode()),
        one(2, 125, thumbs),
    ):  # fmt: skip
        assert written.count(expected) == 1
    assert b"Old" not in written
