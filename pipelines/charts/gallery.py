"""The page ``docs/charts.md`` and its pictures: every chart of one fixed photograph, by every engine.

``python -m pipelines.charts.gallery docs`` writes them. The bytes depend on the pinned versions of matplotlib, Pillow
and imagecodecs only; a test regenerates them and compares.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.analyses.registry import Result
from pipelines.charts.options import ChartOptions
from pipelines.charts.registry import CHARTABLE, ENGINES, draw_chart
from pipelines.charts.scope_charts import CHANNELS
from pipelines.errors import JobError

TITLE = "astronaut.png"

INTRODUCTION = """\
# Charts

Each analysis below has a chart, drawn per image when a job asks for `charts`:

```yaml
export:
  charts: {format: png, engine: fast, scale: 8bit}
```

| option | values | meaning |
|---|---|---|
| `format` | `png`, `svg`, `jpeg` | SVG keeps text as text and bars as vectors; traces are embedded pictures |
| `engine` | `fast`, `matplotlib` | same data, same layout; `fast` takes 1 to 5 ms per chart, `matplotlib` 40 to 140 |
| `scale` | `8bit`, `10bit`, `ire` | labels of levels: 0-255, 0-1023 (full range), or 0-100 IRE |
| `density` | `log`, `gamma` | brightness of a trace: logarithm of the count, or its power 0.4 |
| `log_counts` | `false`, `true` | histogram heights by log10(1 + count) |
| `width`, `height` | 540-4096, 300-4096 px | 608 x 344 if not given: 512 x 256 px of plot, a whole number per level |
| `quality` | 1-100 | of JPEG |

The title is the name of the file. Characters that can't be shown (control characters, undecodable bytes) become
\N{REPLACEMENT CHARACTER}, long names lose their middle. The font is DejaVu Sans; what can't be drawn with it from left
to right (Chinese, Japanese, Korean, Thai, emoji, which it lacks; Arabic and Hebrew, which run the other way) stands as
its code, such as `\\u6f22`, the same in both engines. The SVG of the fast engine has the characters themselves.

All pictures on this page show scikit-image's `astronaut`. `make gallery` draws them again, byte for byte; `rayjobs
charts --gallery DIR` draws page and pictures into a directory.
"""

READING: Mapping[str, tuple[str, str]] = {
    "color_histogram": (
        "Colour histogram",
        """\
How many pixels have each level of R', G' and B'. Where areas overlap, their colours mix: gray is common to all three.
The white line is luma. The height is a share of all pixels; it is scaled to the tallest bar away from the ends (levels
4 to 251), so that clipped black or white, cut off at the top, doesn't flatten the rest. The shares of red, green and
blue at the lowest and the highest level, top right, are what is clipped.""",
    ),
    "luma_waveform": (
        "Luma waveform",
        """\
For each of 256 columns across the picture, which luma its pixels have: the brighter, the more of them. Exposure and
contrast are read from where the trace begins and ends; a line pressed against 0 or 255 is clipped; a trace that leans
shows light falling off to one side.""",
    ),
    "rgb_parade": (
        "RGB parade",
        """\
Three waveforms, of red, green and blue. Something neutral, such as a gray card, a white shirt or a cloud, has its trace
at the same height in all three; a colour cast shifts them against each other, and one sees whether in the shadows, the
middle or the highlights.""",
    ),
    "hue_histogram": (
        "Hue histogram",
        """\
How many pixels have each HSV hue, in degrees, each bar in its hue. Pixels without any saturation have no hue; their
share stands above the plot. Lone spikes at multiples of 60 degrees come from pixels of few levels: very dark or nearly
gray ones.""",
    ),
    "saturation_histogram": (
        "Saturation histogram",
        """\
How many pixels have each HSV saturation, from gray to pure colour. What piles up at 100 % has a channel at 0, which is
a sign of colours pushed out of gamut. The scale ignores the ends, as in the colour histogram.""",
    ),
    "lab_chromaticity": (
        "CIELAB chromaticity",
        """\
Where the colours lie in a* (green to magenta) and b* (blue to yellow), as on a vectorscope: neutral in the middle,
saturation outwards, hue as direction. The tiles show the colours of the plane at L* 60, as far as sRGB has them.
The ring marks the mean. The right panel shows the neighbourhood of neutral four times enlarged, where a slight cast can
be seen.""",
    ),
}


def scopes_of(image: NDArray[np.uint8]) -> dict[str, Result]:
    """The six scopes of an RGB image, computed plainly with numpy and scikit-image."""
    from skimage.color import rgb2hsv, rgb2lab

    height, width = image.shape[:2]
    column = np.broadcast_to(np.arange(width) * 256 // width, (height, width))
    luma = np.rint(image @ np.array([0.2126, 0.7152, 0.0722])).astype(int)
    hue, saturation = (rgb2hsv(image)[..., k] for k in (0, 1))
    lab = rgb2lab(image)
    a, b = (np.floor(lab[..., k] + 128).astype(int) for k in (1, 2))
    channels = dict(zip(CHANNELS, np.moveaxis(image.astype(int), -1, 0), strict=True))
    return {
        "color_histogram": {name: _count(plane, 256) for name, plane in {**channels, "luma": luma}.items()},
        "luma_waveform": {"counts": _count(luma * 256 + column, 65536)},
        "rgb_parade": {name: _count(plane * 256 + column, 65536) for name, plane in channels.items()},
        "hue_histogram": {
            "counts": _count(np.floor(hue[saturation > 0] * 360).astype(int) % 360, 360),
            "achromatic": int((saturation == 0).sum()),
        },
        "saturation_histogram": {"counts": _count(np.rint(saturation * 255).astype(int), 256)},
        "lab_chromaticity": {
            "counts": _count(a * 256 + b, 65536),
            "mean_a": lab[..., 1].mean(),
            "mean_b": lab[..., 2].mean(),
        },
    }


def _count(bins: NDArray[Any], size: int) -> NDArray[Any]:
    return np.bincount(bins.ravel(), minlength=size).astype(np.uint32)


def gallery_files() -> dict[str, bytes]:
    """All files of the gallery, by path relative to the documentation's directory."""
    from skimage import data

    results = scopes_of(data.astronaut())
    files = {
        f"gallery/{name}_{engine}.png": draw_chart(
            name, results[name], title=TITLE, options=ChartOptions(engine=engine)
        )
        for name in CHARTABLE
        for engine in ENGINES
    }
    return {"charts.md": page().encode(), **files}


def page() -> str:
    """The text of ``charts.md``."""
    sections = [INTRODUCTION]
    for name, (heading, text) in READING.items():
        pictures = "\n".join(f"![{heading}, engine {engine}](gallery/{name}_{engine}.png)" for engine in ENGINES)
        sections.append(f"## {heading}\n\n`{name}`. {text}\n\n{pictures}\n")
    return "\n".join(sections)


def write_gallery(directory: Path, *, replace: bool = False) -> Path:
    """Write the gallery into a directory, and return the path of its page.

    Parameters
    ----------
    replace
        Write over an earlier gallery; without it, files that are there already are somebody's, and none is written
        unless they all are what would be written anyway. Links are never followed.

    Raises
    ------
    JobError
        Something is in the way; nothing was written.
    """
    files = {directory / name: content for name, content in gallery_files().items()}
    in_the_way = [path for path in {path.parent: None for path in files} if _is_no_place(path, top=directory)]
    if not in_the_way:
        in_the_way = [path for path, content in files.items() if _is_in_the_way(path, content, replace=replace)]
    if in_the_way:
        more = f" and {len(in_the_way) - 3} more" if len(in_the_way) > 3 else ""
        raise JobError(
            f"{', '.join(map(str, in_the_way[:3]))}{more}: in the way of the gallery, which replaces nothing; move it "
            "away, or give another directory"
        )
    _write(files, replace=replace)
    return directory / "charts.md"


def _is_no_place(path: Path, *, top: Path) -> bool:
    # The directory that was asked for may be a link; one inside of it would lead out of it.
    return os.path.lexists(path) and not (path.is_dir() and (path == top or not path.is_symlink()))


def _is_in_the_way(path: Path, content: bytes, *, replace: bool) -> bool:
    if not os.path.lexists(path):
        return False
    if path.is_symlink() or not path.is_file():
        return True
    return not replace and (path.stat().st_size != len(content) or path.read_bytes() != content)


def _write(files: Mapping[Path, bytes], *, replace: bool) -> None:
    """Write the files that aren't there, or all of them; none of those that weren't there is left if one fails."""
    with ExitStack() as undo:
        for path, content in files.items():
            there = os.path.lexists(path)
            if there and not replace:
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (os.O_TRUNC if there else os.O_EXCL)
            with open(os.open(path, flags, 0o666), "wb") as file:
                if not there:
                    undo.callback(path.unlink, missing_ok=True)
                file.write(content)
        undo.pop_all()


def main(arguments: list[str]) -> int:
    """Write the gallery into the directory given as the only argument, over an earlier one."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m pipelines.charts.gallery OUT_DIR\n")
        return 2
    write_gallery(Path(arguments[0]), replace=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
