"""The table of docs/reference/trust.md, held to what the tests measure, so that it can't go stale."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "trust.md"


def rows() -> dict[str, list[str]]:
    """Area -> the other cells of its row."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return {first: rest for first, *rest in cells}


def hold(area: str, *, cases: int, worst: float) -> None:
    """Fail unless the area's row has this number of cases, and a worst difference that isn't exceeded.

    The last two cells begin with a number: ``0.5 levels``.
    """
    _, stated, difference, tolerance = rows()[area]
    assert int(stated.replace(",", "")) == cases, f"{area}: {cases} cases, the table says {stated}"
    documented = float(difference.split()[0])
    assert worst <= documented, f"{area}: {worst:.3g}, the table says {difference}"
    assert documented <= float(tolerance.split()[0]), f"{area}: the table's difference is beyond its tolerance"
