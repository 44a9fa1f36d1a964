"""Statistics per channel: centre, spread, percentiles, clipping, entropy; dynamic range and the mean hue.

Values are stored samples (0 to 255, 0 to 65,535, float32 as it is) at full precision; ``white`` tells images of
different depth apart. A gray image counts as R = G = B. Invisible pixels (alpha 0) are left out; NaN and infinities are
counted and left out of all else; a number of nothing is None.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from pipelines.alpha_rules import AlphaRule
from pipelines.analyses.channel_counts import ChannelCounts, FloatCounts, IntegerCounts
from pipelines.analyses.registry import Column, Result, analysis
from pipelines.operations.srgb import to_linear

CHANNELS = ("red", "green", "blue", "luma")
HUES_PER_DEGREE = 16
HUES = 360 * HUES_PER_DEGREE
DARK_PERCENT, BRIGHT_PERCENT = 0.1, 99.9
"""Between them lies the dynamic range."""


def _rising(percents: tuple[float, ...]) -> tuple[float, ...]:
    if any(left >= right for left, right in pairwise(percents)):
        raise ValueError("must rise")
    return percents


Percents = Annotated[
    tuple[Annotated[float, Field(ge=0, le=100)], ...],
    Field(max_length=32, description="Percentiles to report, rising"),
    AfterValidator(_rising),
]
USUAL = (1.0, 25.0, 50.0, 75.0, 99.0)
Bits = Annotated[
    int | None,
    Field(
        ge=1, le=16, description="Bits of an integer sample that carry the signal, as 12 or 14 of 16: white is theirs"
    ),
]


def _percentile_name(percent: float) -> str:
    """``p50``, ``p99_9``."""
    return "p" + f"{percent:.10f}".rstrip("0").rstrip(".").replace(".", "_")


def columns(*, percentiles: tuple[float, ...] = USUAL, significant_bits: int | None = None) -> list[Column]:
    """The columns for these percentiles."""
    found = [
        Column(
            "white",
            "float64",
            "level",
            "The level of white: 255, 65535, or 1 for floats; less of less bits.",
            "Level of white",
        ),
        Column("significant_bits", "int64", "bit", "Bits of a sample that carry the signal; nothing for floats."),
    ]
    for channel in CHANNELS:
        found += _columns_of(channel, percentiles)
    return [
        *found,
        Column("dynamic_range", "float64", "stops", "Light between the 0.1 and the 99.9 percentile of luma."),
        Column("hue_mean", "float64", "degree", "Circular mean of the HSV hue of all pixels that have one."),
        Column("hue_std", "float64", "degree", "Circular standard deviation of that hue."),
        Column("hue_concentration", "float64", "1", "1: all of one hue; 0: no hue prevails."),
        Column("achromatic", "float64", "1", "Share of the pixels without a hue: R = G = B."),
        Column("nan_samples", "int64", "1", "Samples that are NaN."),
        Column("infinite_samples", "int64", "1", "Samples that are infinite."),
    ]


def _columns_of(channel: str, percentiles: tuple[float, ...]) -> list[Column]:
    return [
        Column(f"{channel}_mean", "float64", "level", f"Mean of {channel}."),
        Column(f"{channel}_std", "float64", "level", f"Standard deviation of {channel} (population)."),
        Column(f"{channel}_minimum", "float64", "level", f"Smallest sample of {channel}."),
        Column(f"{channel}_maximum", "float64", "level", f"Largest sample of {channel}."),
        *(
            Column(
                f"{channel}_{_percentile_name(q)}",
                "float64",
                "level",
                f"{q:g} % of {channel} lie below.",
                f"{channel.capitalize()} {q:g} % percentile",
            )
            for q in percentiles
        ),
        Column(f"{channel}_clipped_low", "float64", "1", f"Share of {channel} at 0 or below."),
        Column(f"{channel}_clipped_high", "float64", "1", f"Share of {channel} at white or above."),
        Column(f"{channel}_entropy", "float64", "bit", f"Shannon entropy of the levels of {channel}."),
    ]


class StatisticsAccumulator:
    """The statistics, tile by tile."""

    def __init__(
        self,
        *,
        height: int,
        width: int,
        dtype: Any,
        channels: int,
        percentiles: tuple[float, ...] = USUAL,
        significant_bits: int | None = None,
    ) -> None:
        self._dtype = np.dtype(dtype)
        self._bits = None if self._dtype.kind == "f" else min(significant_bits or 16, 8 * self._dtype.itemsize)
        self._percentiles = percentiles
        self._gray = channels == 1
        self._channels = [self._new_channel() for _ in range(1 if self._gray else len(CHANNELS))]
        self._hues = np.zeros(HUES + 2, np.uint32)
        """By 1 / 16 degree; the last but one belongs to 0 again, the last counts pixels without a hue."""

    def _new_channel(self) -> ChannelCounts:
        return FloatCounts() if self._dtype.kind == "f" else IntegerCounts(np.iinfo(self._dtype).max + 1)

    def update(self, tile: NDArray[Any], *, row: int, column: int) -> None:
        """Count one tile; where it lies doesn't matter."""
        from pipelines.analyses.scope_bands import luma_of, planes_by_band

        for every, invisible in planes_by_band(tile):
            red, green, blue = every
            planes = every if invisible is None else (red[~invisible], green[~invisible], blue[~invisible])
            if self._gray:
                self._channels[0].add(planes[0])
                self._count_gray(planes[0])
                continue
            with np.errstate(invalid="ignore"):  # infinities of both signs have no luma
                luma = luma_of(planes, "bt709").astype(self._dtype, copy=False)
            for counts, plane in zip(self._channels, (*planes, luma), strict=True):
                counts.add(plane)
            self._count_hues(planes)

    def _count_gray(self, plane: NDArray[Any]) -> None:
        known = int(np.count_nonzero(np.isfinite(plane))) if plane.dtype.kind == "f" else plane.size
        self._hues[HUES + 1] += known

    def _count_hues(self, planes: tuple[NDArray[Any], ...]) -> None:
        from pipelines.analyses.scope_kernels import count_bins, hue_bins

        unknown = 0
        if self._dtype.kind == "f":
            finite = np.isfinite(planes[0]) & np.isfinite(planes[1]) & np.isfinite(planes[2])
            unknown = finite.size - int(np.count_nonzero(finite))
            if unknown:
                planes = tuple(np.where(finite, plane, np.float32(0)) for plane in planes)
        hue = np.empty(planes[0].size, np.uint16)
        red, green, blue = planes
        hue_bins(red, green, blue, float(HUES_PER_DEGREE), 0.5, HUES + 1, hue)
        count_bins(hue, self._hues)
        self._hues[HUES + 1] -= unknown

    def result(self) -> Result:
        """The finished columns."""
        white = 1.0 if self._bits is None else float(2**self._bits - 1)
        found: dict[str, Any] = {"white": white, "significant_bits": self._bits}
        each = [_channel_numbers(counts, self._percentiles, white) for counts in self._channels]
        for name, numbers in zip(CHANNELS, each * 4 if self._gray else each, strict=True):
            found |= {f"{name}_{key}": value for key, value in numbers.items()}
        samples = [counts for counts in self._channels[:3] if isinstance(counts, FloatCounts)]
        return {
            **found,
            "dynamic_range": _dynamic_range(self._channels[-1], white),
            **_hue_numbers(self._hues),
            "nan_samples": sum(counts.nans for counts in samples),
            "infinite_samples": sum(counts.infinities for counts in samples),
        }


@analysis("measurements", columns=columns, alpha=AlphaRule.VISIBLE, accumulator=StatisticsAccumulator, version=2)
def statistics(image: NDArray[Any], *, percentiles: Percents = USUAL, significant_bits: Bits = None) -> Result:
    """Describe each channel by numbers: mean, spread, percentiles, clipping, entropy; also dynamic range and hue.

    Channels are red, green, blue and luma (BT.709, rounded for integers). Mean and standard deviation are exact up to
    their last rounding. Percentiles interpolate linearly; for float32 they, and the entropy, see samples cut to 16
    significant bits. Dynamic range: log2 of the ratio of the linear light (sRGB) at the 99.9 and 0.1 percentile of
    luma, both at least one level (of 16 bits for floats). Hues are rounded to 1/16 degree; their standard
    deviation is sqrt(-2 ln R), R the concentration (Mardia and Jupp, "Directional Statistics", 2000, 2.3).

    ``significant_bits`` declares that a camera of 12 or 14 bits wrote into 16: white, to which clipping and the dynamic
    range refer, is 4,095 or 16,383 then. Samples are left as they are.
    """
    height, width = image.shape[:2]
    channels = 1 if image.ndim == 2 else image.shape[2]
    counts = StatisticsAccumulator(
        height=height,
        width=width,
        dtype=image.dtype,
        channels=channels,
        percentiles=percentiles,
        significant_bits=significant_bits,
    )
    counts.update(image, row=0, column=0)
    return counts.result()


def _channel_numbers(counts: ChannelCounts, percents: tuple[float, ...], white: float) -> dict[str, float | None]:
    values, numbers = counts.occurring()
    names = [_percentile_name(percent) for percent in percents]
    if not values.size:
        keys = ("mean", "std", "minimum", "maximum", *names, "clipped_low", "clipped_high", "entropy")
        return dict.fromkeys(keys)
    number, mean, std = counts.moments()
    low, high = counts.extremes()
    return {
        "mean": mean,
        "std": std,
        "minimum": low,
        "maximum": high,
        **dict(zip(names, counts.percentiles(percents), strict=True)),
        "clipped_low": int(numbers[values <= 0].sum()) / number,
        "clipped_high": int(numbers[values >= white].sum()) / number,
        "entropy": counts.entropy(),
    }


def _dynamic_range(luma: ChannelCounts, white: float) -> float | None:
    if not luma.occurring()[0].size:
        return None
    least = 1 / (white if white > 1 else 65535)
    dark, bright = (max(level / white, least) for level in luma.percentiles((DARK_PERCENT, BRIGHT_PERCENT)))
    light = to_linear(np.array([dark, bright]))
    return float(np.log2(light[1] / light[0]))


def _hue_numbers(counts: NDArray[np.uint32]) -> dict[str, float | None]:
    hues = counts[:HUES].astype(np.int64)
    hues[0] += counts[HUES]
    with_hue, without = int(hues.sum()), int(counts[HUES + 1])
    found: dict[str, float | None] = {"hue_mean": None, "hue_std": None, "hue_concentration": None}
    if with_hue:
        angles = np.arange(HUES) * (2 * math.pi / HUES)
        x, y = float(hues @ np.cos(angles)) / with_hue, float(hues @ np.sin(angles)) / with_hue
        concentration = min(math.hypot(x, y), 1.0)
        found["hue_concentration"] = concentration
        if concentration > 1e-12:
            found["hue_mean"] = math.degrees(math.atan2(y, x)) % 360 % 360
            found["hue_std"] = math.degrees(math.sqrt(max(-2 * math.log(concentration), 0.0)))
    pixels = with_hue + without
    return {**found, "achromatic": without / pixels if pixels else None}
