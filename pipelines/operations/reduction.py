"""Pictures that their decoder made smaller: where the whole picture lies in the pixels that are there.

Covers places and lengths only. Whether a decoder may do it: ``pipelines.stages.decoder_reduction``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

Span = tuple[float, float]
"""Along an axis: where it begins and how long it is, in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduction:
    """What ``resize`` must know of such a picture to give what it would give of the whole one."""

    factor: int
    """Each pixel that is there stands for ``factor`` x ``factor`` of the whole picture."""
    rows: int
    """Of the whole picture."""
    columns: int
    offsets: Span = (0.0, 0.0)
    """Where the whole picture's first row and column begin in the pixels that are there. A side that is no multiple of
    the factor ends within a pixel; where that was mirrored, it begins within one."""

    def turned(self, transposed: bool, mirrored: int | None) -> Reduction:
        """The same after ``auto_orient`` has transposed, then mirrored the pixels, as in ``ORIENTATIONS``."""
        turned = self
        if transposed:
            turned = replace(self, rows=self.columns, columns=self.rows, offsets=self.offsets[::-1])
        offsets = tuple(
            _mirrored(span) if mirrored in (axis, -1) else span[0] for axis, span in enumerate(turned.extents)
        )
        return replace(turned, offsets=(offsets[0], offsets[1]))

    @property
    def extents(self) -> tuple[Span, Span]:
        """Rows and columns of the pixels that are there which the whole picture covers."""
        return self.places(((0.0, float(self.rows)), (0.0, float(self.columns))))

    def places(self, spans: tuple[Span, Span]) -> tuple[Span, Span]:
        """Parts of the whole picture's rows and columns, in pixels that are there."""
        (top, height), (left, width) = spans
        below, right = self.offsets
        return (
            (below + top / self.factor, height / self.factor),
            (right + left / self.factor, width / self.factor),
        )


def _mirrored(span: Span) -> float:
    start, length = span
    return math.ceil(length) - length - start
