"""An SVG page of rectangles, lines and texts, light or dark as its reader's screen.

Colours are names of roles, given twice in the page's style; whoever draws says by more than colour what is meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

ROLES: Mapping[str, tuple[str, str]] = {
    "page": ("#ffffff", "#0d1117"),
    "text": ("#1f2328", "#e6edf3"),
    "dim": ("#59636e", "#9198a1"),
    "rule": ("#d1d9e0", "#3d444d"),
    "good": ("#1a5fb4", "#78aeed"),
    "bad": ("#b3261e", "#ff9a8f"),
    "import": ("#e0b94f", "#9a7412"),
    "ray": ("#c7a9e0", "#70509a"),
    "work": ("#8fc98f", "#2f7d3a"),
    "result": ("#8ebbe8", "#2a6299"),
    "other": ("#c9ced4", "#565e67"),
}
"""Role -> its colour on a light and on a dark page; text is read on every one of them."""


def number(value: float) -> str:
    """A coordinate: a tenth of a pixel is enough."""
    return f"{value:.1f}".removesuffix(".0")


class Drawing:
    """A page that grows by elements, in the order of drawing; all lengths are pixels."""

    def __init__(self, width: int, height: int, title: str, description: str) -> None:
        """``title`` and ``description`` are what readers who don't see the page are told."""
        light, dark = (
            "".join(f"--{role}:{colours[number]};" for role, colours in ROLES.items()) for number in range(2)
        )
        self._lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
            'role="img" font-family="system-ui, Segoe UI, Roboto, Helvetica, DejaVu Sans, sans-serif" font-size="12">',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(description)}</desc>",
            f"<style>svg{{{light}}}@media (prefers-color-scheme: dark){{svg{{{dark}}}}}</style>",
        ]
        self.rectangle(0, 0, width, height, "page")

    def rectangle(
        self, x: float, y: float, width: float, height: float, role: str, *, hollow: bool = False, opacity: float = 1
    ) -> None:
        """Filled, or a dashed outline."""
        paint = f"fill:none;stroke:var(--{role});stroke-dasharray:3 2" if hollow else f"fill:var(--{role})"
        faint = "" if opacity == 1 else f";opacity:{opacity:.2f}"
        self._lines.append(
            f'<rect x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}" '
            f'style="{paint}{faint}"/>'
        )

    def line(self, points: str, role: str, width: float = 1) -> None:
        """A path as SVG writes it: ``M3 4V9``."""
        self._lines.append(f'<path d="{points}" style="fill:none;stroke:var(--{role});stroke-width:{number(width)}"/>')

    def text(self, x: float, y: float, text: str, role: str = "text", *, anchor: str = "start", size: int = 12) -> None:
        """One line, standing on ``y``."""
        self._lines.append(
            f'<text x="{number(x)}" y="{number(y)}" font-size="{size}" text-anchor="{anchor}" '
            f'style="fill:var(--{role})">{escape(text, quote=False)}</text>'
        )

    def svg(self) -> str:
        """The page so far."""
        return "\n".join([*self._lines, "</svg>"]) + "\n"
