"""Axes with the ticks that people of the field expect: code values, IRE, per cent of pixels, degrees, a* and b*.

Covers numbers and labels; where they end up in px is decided in ``layout``.
"""

from __future__ import annotations

import math

from pipelines.charts.data import Axis, Tick
from pipelines.charts.options import Scale

_LEVEL_STEPS: dict[Scale, tuple[str, int, tuple[int, ...]]] = {
    "8bit": ("8-bit code value", 255, (0, 32, 64, 96, 128, 160, 192, 224, 255)),
    "10bit": ("10-bit code value", 1023, (0, 128, 256, 384, 512, 640, 768, 896, 1023)),
    "ire": ("IRE", 100, (0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)),
}


def level_axis(scale: Scale, *, grid: bool = True) -> Axis:
    """The axis of 256 levels, bin k centred at k, labelled in 8-bit or 10-bit full-range code values or in IRE.

    10-bit value v lies at level v * 255 / 1023, IRE value p at level p * 2.55.
    """
    label, full, values = _LEVEL_STEPS[scale]
    ticks = tuple(Tick(value * 255 / full, str(value), strong=value in {0, full}) for value in values)
    return Axis(label=label, low=-0.5, high=255.5, ticks=ticks, grid=grid)


def column_axis(label: str, *, ticks: bool) -> Axis:
    """The axis of 256 columns across the picture, labelled in per cent of its width."""
    marks = tuple(Tick(256 * share / 100, f"{share} %") for share in (0, 25, 50, 75, 100)) if ticks else ()
    return Axis(label=label, low=0, high=256, ticks=marks, grid=False)


def share_axis(high: float, *, total: int, log_counts: bool) -> Axis:
    """The axis of bar heights: per cent of ``total`` pixels, or log10(1 + count) labelled with counts."""
    if log_counts:
        top = max(math.ceil(high), 1)
        powers = range(0, top + 1, math.ceil(top / 6))
        ticks = tuple(Tick(math.log10(1 + 10**power), _power_of_ten(power)) for power in powers)
        return Axis(label="pixels", low=0, high=math.log10(1 + 10**top), ticks=ticks)
    high = high if high > 0 and total else 1.0
    step = nice_step(high / 4)
    count = math.floor(high * (1 + 1e-9) / step)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    ticks = tuple(Tick(step * k, f"{step * k:.{digits}f}" if k else "0") for k in range(count + 1))
    return Axis(label="% of pixels", low=0, high=high, ticks=ticks)


def degree_axis() -> Axis:
    """The axis of 360 one-degree bins of hue; bin k spans k to k + 1."""
    names = {0: "red", 60: "yellow", 120: "green", 180: "cyan", 240: "blue", 300: "magenta", 360: "red"}
    ticks = tuple(Tick(degree, f"{degree}°", strong=degree % 120 == 0) for degree in names)
    return Axis(label="HSV hue", low=0, high=360, ticks=ticks)


def percent_axis(label: str) -> Axis:
    """The axis of 256 bins from 0 to 100 per cent, bin k centred at k."""
    ticks = tuple(Tick(255 * share / 100, f"{share} %") for share in range(0, 101, 10))
    return Axis(label=label, low=-0.5, high=255.5, ticks=ticks)


def neutral_axis(label: str, reach: int) -> Axis:
    """The axis of a* or b* from -reach to reach, with the neutral 0 standing out."""
    step = reach // 4
    values = range(-3 * step, reach, step)
    ticks = tuple(Tick(value, str(value).replace("-", "\N{MINUS SIGN}"), strong=value == 0) for value in values)
    return Axis(label=label, low=-reach, high=reach, ticks=ticks)


def nice_step(rough: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that isn't below ``rough``."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def _power_of_ten(power: int) -> str:
    return str(10**power) if power < 4 else f"{10 ** (power % 3)}{'kMGT'[power // 3 - 1]}"
