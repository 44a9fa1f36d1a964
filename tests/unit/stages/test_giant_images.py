"""Images larger than the memory for one: the same pixels and numbers as in one piece, or a refusal that says why."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms

from pipelines.analyses import ANALYSES
from pipelines.charts import ChartOptions
from pipelines.errors import FailedReason
from pipelines.image_io import EncodeOptions, ReadPolicy, decode_image, open_source, probe_header
from pipelines.image_io.tiff_blocks import open_tiff_blocks
from pipelines.models import AnalysisRequest, ImageOperation, ImageStatus, WorkItem
from pipelines.stages import staged_task
from pipelines.stages.block_task import Workspace
from pipelines.stages.image_task import ImageWork, process
from pipelines.stages.publish import Publisher
from pipelines.stages.recipe import Recipe
from pipelines.stages.worker_journal import WorkerJournal
from tests.tiles import assert_same_pixels
from tests.workspaces import prepared

SCOPES = tuple(AnalysisRequest(name) for name, one in ANALYSES.items() if one.group == "scopes")
ANALYSED = (*SCOPES, AnalysisRequest("statistics", {"percentiles": [10, 50]}), AnalysisRequest("sharpness"))
OPERATIONS = (
    ImageOperation("auto_orient"),
    ImageOperation("brightness_contrast", {"brightness": 0.05, "contrast": 1.1}),
    ImageOperation("gaussian", {"sigma": 2.5}),
)
LOW = 4 << 20


def picture(dtype: str, channels: int, shape: tuple[int, int] = (1100, 900)) -> NDArray[Any]:
    """Smooth colours with some noise; the same on every call."""
    random = np.random.default_rng(5)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    planes = [
        0.5 + 0.4 * np.sin(rows / (31 + 7 * channel)) * np.cos(columns / (23 + channel)) for channel in range(channels)
    ]
    values = np.clip(np.stack(planes, axis=-1) + random.normal(0, 0.03, (*shape, channels)), 0, 1)
    white = {"uint8": 255, "uint16": 65535, "float32": 1}[dtype]
    image = (values * white).astype(dtype)
    return image[..., 0] if channels == 1 else image


def recipe(**changes: Any) -> Recipe:
    given: dict[str, Any] = {
        "id": 1,
        "read": ReadPolicy(),
        "operations": OPERATIONS,
        "image": EncodeOptions(format="tiff"),
        "image_suffixes": (".tif",),
        "analyses": ANALYSED,
        "charts": ChartOptions(),
        "charted": ("luma_waveform",),
        **changes,
    }
    return Recipe(**given)


def item(path: Path) -> WorkItem:
    facts = path.stat()
    return WorkItem(
        id=1, path=bytes(path), size=facts.st_size, mtime_ns=facts.st_mtime_ns, name="a", title=path.name, recipe=1
    )


def done(path: Path, output: Path, wanted: Recipe) -> tuple[ImageStatus, Mapping[str, Any]]:
    (output / "tmp").mkdir(parents=True, exist_ok=True)
    journal = WorkerJournal(output / "tmp")
    try:
        return process(ImageWork(item=item(path), recipe=wanted, publisher=Publisher(output, output / "tmp", journal)))
    finally:
        journal.close()


def assert_same_results(first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    assert list(first) == list(second)
    for name, columns in first.items():
        assert list(columns) == list(second[name])
        for key, value in columns.items():
            np.testing.assert_array_equal(value, second[name][key], err_msg=f"{name}.{key}")


def written(output: Path) -> Any:
    data = (output / "images/a.tif").read_bytes()
    return decode_image(data, ReadPolicy(color="keep"))


def profile() -> bytes:
    """A colour profile that isn't sRGB: red and blue of sRGB changed over."""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    count = int.from_bytes(made[128:132], "big")
    table = bytearray(made)
    for at in range(132, 132 + 12 * count, 12):
        swapped = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}.get(bytes(table[at : at + 4]))
        if swapped:
            table[at : at + 4] = swapped
    return bytes(table)


LAYOUTS: dict[str, dict[str, Any]] = {
    "one plain piece": {},
    "big-endian": {"byteorder": ">"},
    "plain strips": {"rowsperstrip": 7},
    "deflated strips": {"compression": "adobe_deflate", "rowsperstrip": 13, "predictor": True},
    "tiles": {"tile": (64, 112), "compression": "zstd"},
    "plain tiles": {"tile": (256, 256)},
    "planes": {"planarconfig": "separate", "rowsperstrip": 50, "compression": "lzw"},
    "plain planes": {"planarconfig": "separate"},
    "planes of tiles": {"planarconfig": "separate", "tile": (128, 64), "compression": "adobe_deflate"},
    "BigTIFF": {"bigtiff": True, "tile": (128, 128), "compression": "packbits"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("dtype", "channels"), [("uint8", 3), ("uint16", 4), ("float32", 1)])
def test_blocks_of_rows_are_the_whole_picture(tmp_path: Path, layout: str, dtype: str, channels: int) -> None:
    if channels == 1 and "planes" in layout:
        channels = 3
    image = picture(dtype, channels, (301, 270))
    options = dict(LAYOUTS[layout])
    file = {key: options.pop(key) for key in ("byteorder", "bigtiff") if key in options}
    if options.get("planarconfig") == "separate":
        image = np.ascontiguousarray(np.moveaxis(image, -1, 0))
    path = tmp_path / "a.tif"
    photometric = "minisblack" if channels == 1 else "rgb"
    extra = ["unassalpha"] if channels == 4 else None
    tifffile.imwrite(path, image, photometric=photometric, extrasamples=extra, metadata=None, **file, **options)
    whole = decode_image(path.read_bytes(), ReadPolicy())
    with open_source(bytes(path)) as source, open_tiff_blocks(source, ReadPolicy()) as blocks:
        assert blocks.header == whole.header == probe_header(path.read_bytes(), ReadPolicy())
        np.testing.assert_array_equal(np.concatenate(list(blocks)), whole.pixels)
        said = blocks.description()
    assert (said.icc, said.degraded, said.orientation) == (whole.icc, whole.degraded, whole.orientation)


def pillow(mode: str, **options: Any) -> bytes:
    image = Image.fromarray(picture("uint8", 3, (200, 150))).convert(mode)
    target = BytesIO()
    image.save(target, "TIFF", **options)
    return target.getvalue()


def associated() -> bytes:
    target = BytesIO()
    image = picture("uint8", 4, (120, 90))
    tifffile.imwrite(target, image, photometric="rgb", extrasamples=["assocalpha"], tile=(32, 32), metadata=None)
    return target.getvalue()


STORED = {
    "palette": lambda: pillow("P"),
    "one bit": lambda: pillow("1", compression="group4"),
    "CMYK": lambda: pillow("CMYK", compression="tiff_lzw"),
    "JPEG": lambda: pillow("RGB", compression="jpeg"),
    "profile": lambda: pillow("RGB", icc_profile=profile()),
    "associated alpha": associated,
}


@pytest.mark.parametrize("stored", STORED)
def test_samples_mean_the_same_in_blocks(tmp_path: Path, stored: str) -> None:
    data = STORED[stored]()
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    for policy in (ReadPolicy(), ReadPolicy(color="keep")):
        whole = decode_image(data, policy)
        with open_source(bytes(path)) as source, open_tiff_blocks(source, policy) as blocks:
            np.testing.assert_array_equal(np.concatenate(list(blocks)), whole.pixels)
            assert blocks.description().icc == whole.icc


@pytest.mark.parametrize("options", [{"tile": (64, 64), "compression": "zstd"}, {}, {"rowsperstrip": 10}])
def test_what_is_cut_off_is_salvaged_alike(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture("uint8", 3, (301, 270)), photometric="rgb", metadata=None, **options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    policy = ReadPolicy(truncated="salvage")
    whole = decode_image(path.read_bytes(), policy)
    with open_source(bytes(path)) as source, open_tiff_blocks(source, policy) as blocks:
        np.testing.assert_array_equal(np.concatenate(list(blocks)), whole.pixels)
        assert blocks.description().degraded == whole.degraded is not None
    status, _ = done(path, tmp_path / "out", recipe(memory_per_image=1000))
    assert status.reason == FailedReason.TRUNCATED


@pytest.mark.parametrize(("dtype", "channels"), [("uint8", 3), ("uint16", 1), ("float32", 3), ("uint8", 4)])
def test_bands_give_the_pixels_and_numbers_of_the_whole(tmp_path: Path, dtype: str, channels: int) -> None:
    path = tmp_path / "a.tif"
    photometric = "minisblack" if channels == 1 else "rgb"
    image = picture(dtype, channels)
    tifffile.imwrite(path, image, tile=(256, 256), compression="zstd", photometric=photometric, metadata=None)
    plain, numbers = done(path, tmp_path / "plain", recipe())
    tiled, same_numbers = done(path, tmp_path / "tiled", recipe(memory_per_image=LOW))
    assert (plain.status, tiled.status) == ("done", "done"), (plain.message, tiled.message)
    if dtype == "float32":  # pixels may differ in their last digit, and with them what is counted
        assert list(numbers) == list(same_numbers)
        assert same_numbers["statistics"]["red_mean"] == pytest.approx(numbers["statistics"]["red_mean"], abs=1e-6)
    else:
        assert_same_results(same_numbers, numbers)
        assert plain.outputs[1] == tiled.outputs[1]  # the chart
    first, second = written(tmp_path / "plain"), written(tmp_path / "tiled")
    assert_same_pixels(second.pixels, first.pixels)
    assert (tiled.width, tiled.height) == (plain.width, plain.height) == (900, 1100)
    assert [output.path for output in tiled.outputs] == [output.path for output in plain.outputs]
    with tifffile.TiffFile(tmp_path / "tiled/images/a.tif") as file:
        assert file.pages[0].is_tiled
    assert not [path for path in (tmp_path / "tiled/tmp").iterdir() if path.suffix not in (".journal", ".hung")]


def test_the_same_bytes_every_time_are_adopted(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture("uint8", 3), metadata=None)
    first, _ = done(path, tmp_path / "out", recipe(memory_per_image=LOW))
    second, _ = done(path, tmp_path / "out", recipe(memory_per_image=LOW))
    assert first.status == "done"
    assert first.outputs == second.outputs


def test_orientation_profile_and_exif_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    exif = Image.Exif()
    exif[315], exif[274] = "Somebody", 6
    exif.get_ifd(0x8769)[36867] = "2001:01:01 00:00:00"
    Image.fromarray(picture("uint8", 3)).save(path, exif=exif, icc_profile=profile(), compression="tiff_deflate")
    wanted = recipe(
        operations=OPERATIONS[1:],
        read=ReadPolicy(color="keep"),
        image=EncodeOptions(format="original", metadata="keep", bit_depth=16, compression=None),
    )
    plain, _ = done(path, tmp_path / "plain", wanted)
    tiled, _ = done(path, tmp_path / "tiled", replace(wanted, memory_per_image=LOW))
    assert (plain.status, tiled.status) == ("done", "done"), (plain.message, tiled.message)
    first, second = written(tmp_path / "plain"), written(tmp_path / "tiled")
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert second.pixels.dtype == np.uint16
    assert (second.orientation, second.icc, second.exif) == (6, first.icc, first.exif)
    assert second.exif is not None


def refused(path: Path, tmp_path: Path, **changes: Any) -> str:
    status, results = done(path, tmp_path / "out", recipe(memory_per_image=LOW, **changes))
    assert (status.status, status.reason, results) == ("failed", FailedReason.TOO_LARGE, {})
    assert not (tmp_path / "out/images/a.tif").exists()
    assert status.message is not None
    return status.message


def test_what_stands_in_the_way_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture("uint8", 3), metadata=None, extratags=[(274, 3, 1, 6, True)])
    message = refused(path, tmp_path)
    assert "operation 1 (auto_orient) needs the whole image" in message
    assert f"limits.memory_per_image ({LOW:,})" in message
    whole = [*OPERATIONS[1:], ImageOperation("equalize"), ImageOperation("rotate", {"angle": 90})]
    message = refused(path, tmp_path, operations=tuple(whole), analyses=(*ANALYSED, AnalysisRequest("noise")))
    assert "operation 3 (equalize)" in message
    assert "operation 4 (rotate)" in message
    assert "analysis noise needs the whole image" in message
    message = refused(path, tmp_path, operations=OPERATIONS[1:], image=EncodeOptions(format="png"))
    assert "png isn't written in bands, only tiff is" in message


def test_several_images_of_a_file_are_refused_together(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.stack([picture("uint8", 3)] * 2), photometric="rgb", metadata=None)
    assert "of 2 images in a file" in refused(path, tmp_path, read=ReadPolicy(frames="all"))
    status, _ = done(path, tmp_path / "out", recipe(memory_per_image=LOW))
    assert status.status == "done", status.message


def test_more_pixels_than_can_be_counted_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    empty = (np.zeros((8192, 8192), np.uint8) for _ in range(36))
    with tifffile.TiffWriter(path) as writer:
        writer.write(
            empty, shape=(48_000, 45_000), dtype=np.uint8, tile=(8192, 8192), compression="zstd", metadata=None
        )
    assert "more than 2,147,483,648 pixels" in refused(path, tmp_path, read=ReadPolicy(max_pixels=10**10))
    assert "more than limits.max_pixels" in refused(path, tmp_path)


def test_a_giant_waits_for_a_task_with_room(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture("uint8", 3), metadata=None)
    (tmp_path / "tmp").mkdir()
    wanted, journal = recipe(memory_per_image=LOW), WorkerJournal(tmp_path / "tmp")
    publisher = Publisher(tmp_path / "out", tmp_path / "tmp", journal)
    work = ImageWork(item=item(path), recipe=wanted, publisher=publisher, budget_bytes=10 << 20)
    status, _ = process(work)
    assert status.status == "released"
    assert status.needs_bytes is not None
    alive = []
    status, _ = process(replace(work, budget_bytes=status.needs_bytes, alive=lambda: alive.append(True)))
    assert status.status == "done"
    assert len(alive) == 5  # bands of 256 rows
    journal.close()


@pytest.mark.parametrize(("sigma", "stored"), [(60, 7), (80, 300), (0.3, 900)])
def test_reach_may_exceed_a_band(tmp_path: Path, sigma: float, stored: int) -> None:
    path = tmp_path / "a.tif"
    image = picture("uint8", 3, (900, 150))
    tifffile.imwrite(path, image, rowsperstrip=stored, compression="adobe_deflate", metadata=None)
    chain = (ImageOperation("gaussian", {"sigma": sigma}), ImageOperation("unsharp_mask", {"radius": 2}))
    wanted = recipe(operations=chain, analyses=(), charted=())
    done(path, tmp_path / "plain", wanted)
    status, _ = done(path, tmp_path / "tiled", replace(wanted, memory_per_image=1 << 19))
    assert status.status == "done", status.message
    np.testing.assert_array_equal(written(tmp_path / "tiled").pixels, written(tmp_path / "plain").pixels)


def test_operations_may_change_what_a_pixel_is(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture("uint16", 3), photometric="rgb", metadata=None)
    chain = (ImageOperation("median", {"radius": 2}), ImageOperation("grayscale"), ImageOperation("invert"))
    plain, numbers = done(path, tmp_path / "plain", recipe(operations=chain))
    tiled, same_numbers = done(path, tmp_path / "tiled", recipe(operations=chain, memory_per_image=LOW))
    assert (plain.status, tiled.status) == ("done", "done"), tiled.message
    assert_same_results(same_numbers, numbers)
    np.testing.assert_array_equal(written(tmp_path / "tiled").pixels, written(tmp_path / "plain").pixels)


def test_only_tiff_is_read_in_bands(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(picture("uint8", 3)).save(path)
    assert "PNG isn't read in bands" in refused(path, tmp_path)


def test_a_file_above_the_limit_is_never_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture("uint8", 3), metadata=None)
    wanted = recipe(memory_per_image=path.stat().st_size - 1, read=ReadPolicy(max_file_bytes=1000))
    status, _ = done(path, tmp_path / "out", wanted)
    assert status.status == "done", status.message


def test_one_compressed_strip_that_is_too_high_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tif"
    image = picture("uint8", 3)
    tifffile.imwrite(path, image, rowsperstrip=image.shape[0], compression="adobe_deflate", metadata=None)
    monkeypatch.setattr("pipelines.stages.giant_image.GIANT_BYTES", 150 << 20)
    message = refused(path, tmp_path)
    assert "1,100 rows high" in message
    assert "store it in lower tiles" in message


def test_damage_found_on_the_way_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture("uint8", 3), tile=(128, 128), compression="zstd", metadata=None)
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        offset, count = page.dataoffsets[-1], page.databytecounts[-1]
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = bytes(count)
    path.write_bytes(data)
    status, _ = done(path, tmp_path / "out", recipe(memory_per_image=LOW))
    assert status.reason == FailedReason.CORRUPT
    assert not (tmp_path / "out/images/a.tif").exists()
    assert not (tmp_path / "out/charts").exists()


def test_a_strangers_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture("uint8", 3), metadata=None)
    (tmp_path / "out/images").mkdir(parents=True)
    (tmp_path / "out/images/a.tif").write_bytes(b"mine")
    status, _ = done(path, tmp_path / "out", recipe(memory_per_image=LOW))
    assert status.reason == FailedReason.WRITE_ERROR
    assert (tmp_path / "out/images/a.tif").read_bytes() == b"mine"


def test_a_full_disk_is_said_to_be_full(tmp_path: Path) -> None:
    """The limit on a file's size stands in for a disk's: 256 KiB are written, then no more."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture("uint8", 3), metadata=None)
    program = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from tests.unit.stages.test_giant_images import LOW, done, recipe\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, 1 << 18))\n"
        "status, _ = done(Path(sys.argv[1]), Path(sys.argv[2]), recipe(memory_per_image=LOW))\n"
        "print(status.reason)"
    )
    command = [sys.executable, "-c", program, str(path), str(tmp_path / "out")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.strip() == FailedReason.NO_SPACE
    assert not (tmp_path / "out/images/a.tif").exists()


def staged(path: Path, output: Path, wanted: Recipe) -> Iterator[ImageStatus]:
    workspace = prepared(Workspace(root=output, epoch=1, stop=output / "stop"))
    items = [item(path)]
    recipes = {1: wanted}
    table = pa.table({"id": [each.id for each in items]})
    for stage in (staged_task.render, staged_task.analyze):
        (table,) = stage(table, items, recipes, workspace)
    for rows in staged_task.export(table, items, recipes, workspace):
        yield from rows


def test_stages_apart_do_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture("uint8", 3), metadata=None)
    wanted = recipe(memory_per_image=LOW)
    status, _ = done(path, tmp_path / "out", wanted)
    (row,) = staged(path, tmp_path / "staged", wanted)
    assert row.outputs == status.outputs
    assert row.part is not None


LIMITED = """
import resource, sys
from pathlib import Path
from tests.unit.stages.test_giant_images import done, recipe
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[1]), int(sys.argv[1])))
limit = int(sys.argv[2]) or None
status, _ = done(Path(sys.argv[3]), Path(sys.argv[4]), recipe(memory_per_image=limit))
print(status.status, status.reason)
"""


def test_a_large_image_fits_into_little_memory(tmp_path: Path) -> None:
    """9,000 x 9,000 pixels, 243 MB: in one piece they don't fit into 640 MiB of data, in bands they do."""
    path = tmp_path / "a.tif"
    tile = picture("uint8", 3, (256, 256))
    with tifffile.TiffWriter(path) as writer:
        tiles = (tile for _ in range(36 * 36))
        writer.write(tiles, shape=(9000, 9000, 3), dtype=np.uint8, tile=(256, 256), compression="zstd", metadata=None)

    def under_limit(memory_per_image: int) -> str:
        arguments = [str(640 << 20), str(memory_per_image), str(path), str(tmp_path / f"out-{memory_per_image}")]
        command = [sys.executable, "-c", LIMITED, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert under_limit(0) == "failed out_of_memory"
    assert under_limit(64 << 20) == "done None"
