"""Sizes and durations as people read them. How they are written in a job file: ``rayjobs.job.quantities``."""

from __future__ import annotations


def size_text(size: int) -> str:
    """``812 B``, ``22.0 KiB``, ``1.5 GiB``."""
    power = min(max(size.bit_length() - 1, 0) // 10, 4)
    return f"{size / 1024**power:,.1f} {'KMGT'[power - 1]}iB" if power else f"{size} B"


def duration_text(seconds: float) -> str:
    """``8.4 s``, ``45 s``, ``12 min 05 s`` or ``3 h 07 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
