"""The counts behind the six scopes: one walk over the image for all scopes that are asked for.

Covers counting tile by tile and the columns of each scope. What the scopes mean: ``scopes``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.analyses.registry import Result

if TYPE_CHECKING:
    from pipelines.analyses.scope_bands import Band

CHANNELS = ("red", "green", "blue", "luma")
LEVEL_SCOPES = frozenset({"color_histogram", "luma_waveform", "rgb_parade"})
HUE_SCOPES = frozenset({"hue_histogram", "saturation_histogram"})
SCOPES = LEVEL_SCOPES | HUE_SCOPES | {"lab_chromaticity"}
HUES = 360
_COLUMN = 4 * 256 + 16
"""Counts from one column of the levels to the next. A power of two would put all columns into the same few places of
the processor's cache: turning the waveforms upright took eight times as long."""

# Linear sRGB to XYZ (IEC 61966-2-1, six digits as in scikit-image) over the white of D65 for 2 degrees (ASTM E308).
_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)
_MATRIX = tuple(np.float32(weight / white) for row, white in zip(_XYZ, _WHITE, strict=True) for weight in row)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeOptions:
    """What the parameters of all scopes have in common."""

    luma: Literal["bt709", "bt601"] = "bt709"
    float_range: tuple[float, float] = (0.0, 1.0)


class ScopeCounts:
    """Counts of the pixels seen so far; every number in it is an integer, so the order of the tiles doesn't matter."""

    def __init__(self, scopes: Collection[str], options: ScopeOptions, *, width: int) -> None:
        self._options = options
        self._by_level = not LEVEL_SCOPES.isdisjoint(scopes)
        self._by_hue = not HUE_SCOPES.isdisjoint(scopes)
        self._by_lab = "lab_chromaticity" in scopes
        self._width = width
        self._columns = np.zeros((256 if self._by_level else 0, _COLUMN), np.uint32)
        self._levels = self._columns[:, : 4 * 256].reshape(-1, 4, 256)
        self._hues = np.zeros((HUES + 1 if self._by_hue else 0, 256), np.uint32)
        self._lab = np.zeros((256 if self._by_lab else 0, 256), np.uint32)
        self._lab_sums = [0, 0]
        self._pixels = 0

    def update(self, tile: NDArray[Any], *, row: int, column: int) -> None:
        """Count one tile whose left edge lies at ``column``; no scope depends on the row."""
        from pipelines.analyses.scope_bands import bands

        columns = (np.arange(tile.shape[1]) + column) * 256 // self._width
        for band in bands(tile, self._options.float_range):
            self._count(band, columns)

    def _count(self, band: Band, columns: NDArray[np.int64]) -> None:
        from pipelines.analyses import scope_kernels as kernels

        pixels = band.values[0].size
        self._pixels += pixels
        if self._by_level:
            red, green, blue = band.levels()
            places = (columns * _COLUMN).astype(np.uint32)
            kernels.count_levels(red, green, blue, band.luma(self._options.luma), places, self._columns.reshape(-1))
        if self._by_hue:
            places = np.empty(pixels, np.uint32)
            kernels.count_hue_and_saturation(*band.values, HUES, places, self._hues.reshape(-1))
        if self._by_lab:
            sum_a, sum_b = band.count_lab(_MATRIX, self._lab.reshape(-1))
            self._lab_sums[0] += sum_a
            self._lab_sums[1] += sum_b
        if band.missing is not None:
            self._take_back(band.missing, columns)

    def _take_back(self, missing: NDArray[np.bool_], columns: NDArray[np.int64]) -> None:
        """Missing pixels were counted as black."""
        from pipelines.analyses.scope_kernels import NEUTRAL

        count = int(missing.sum())
        self._pixels -= count
        if self._by_level:
            found = columns[np.flatnonzero(missing) % columns.size]
            self._levels[:, :, 0] -= np.bincount(found, minlength=256).astype(np.uint32)[:, None]
        if self._by_hue:
            self._hues[HUES, 0] -= count
        if self._by_lab:
            self._lab[128, 128] -= np.uint32(count)
            self._lab_sums = [total - count * NEUTRAL for total in self._lab_sums]

    def result(self, scope: str) -> Result:
        """The columns of one of the scopes that were asked for."""
        if scope == "color_histogram":
            return dict(zip(CHANNELS, self._levels.sum(axis=0, dtype=np.uint32), strict=True))
        if scope == "luma_waveform":
            return {"counts": np.ascontiguousarray(self._levels[:, 3].T)}
        if scope == "rgb_parade":
            return {name: np.ascontiguousarray(self._levels[:, i].T) for i, name in enumerate(CHANNELS[:3])}
        if scope == "hue_histogram":
            hues = self._hues.sum(axis=1, dtype=np.uint32)
            return {"counts": hues[:HUES], "achromatic": int(hues[HUES])}
        if scope == "saturation_histogram":
            return {"counts": self._hues.sum(axis=0, dtype=np.uint32)}
        mean_a, mean_b = (self._mean(total) for total in self._lab_sums)
        return {"counts": self._lab.copy(), "mean_a": mean_a, "mean_b": mean_b}

    def _mean(self, total: int) -> float | None:
        from pipelines.analyses.scope_kernels import NEUTRAL

        return (total - self._pixels * NEUTRAL) / self._pixels / 65536 if self._pixels else None


class ScopeAccumulator:
    """One scope, tile by tile."""

    def __init__(self, scope: str, options: ScopeOptions, *, width: int) -> None:
        self._scope = scope
        self._counts = ScopeCounts([scope], options, width=width)

    def update(self, tile: NDArray[Any], *, row: int, column: int) -> None:
        """Count one tile whose top left pixel lies at (row, column) of the image."""
        self._counts.update(tile, row=row, column=column)

    def result(self) -> Result:
        """The finished columns."""
        return self._counts.result(self._scope)


def count_scopes(image: NDArray[Any], asked: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, Result]:
    """Several scopes of one image: scope -> its columns; ``asked`` holds (scope, parameters)."""
    counts = JointScopes(asked, width=image.shape[1])
    counts.update(image, row=0, column=0)
    return counts.results()


class JointScopes:
    """Several scopes, tile by tile, from as few walks as the parameters allow."""

    def __init__(self, asked: Iterable[tuple[str, Mapping[str, Any]]], *, width: int) -> None:
        self._counts = [(scopes, ScopeCounts(scopes, options, width=width)) for options, scopes in _groups(asked)]

    def update(self, tile: NDArray[Any], *, row: int, column: int) -> None:
        """Count one tile whose top left pixel lies at (row, column) of the image."""
        for _, counts in self._counts:
            counts.update(tile, row=row, column=column)

    def results(self) -> dict[str, Result]:
        """Scope -> its columns."""
        return {scope: counts.result(scope) for scopes, counts in self._counts for scope in scopes}


def _groups(asked: Iterable[tuple[str, Mapping[str, Any]]]) -> list[tuple[ScopeOptions, list[str]]]:
    """What can be counted in one walk; a scope without luma shares that of one with, when their ranges agree."""
    groups: dict[ScopeOptions, list[str]] = {}
    plain: list[tuple[str, tuple[float, float]]] = []
    for scope, params in asked:
        low, high = params["float_range"]
        if "luma" in params:
            groups.setdefault(ScopeOptions(luma=params["luma"], float_range=(low, high)), []).append(scope)
        else:
            plain.append((scope, (low, high)))
    for scope, float_range in plain:
        sharing = [options for options in groups if options.float_range == float_range]
        options = sharing[0] if sharing else ScopeOptions(float_range=float_range)
        groups.setdefault(options, []).append(scope)
    return list(groups.items())
