"""What alpha does to an operation or an analysis: the few rules there are, each in a sentence.

The registries name the rule of every entry; the table of the reference is made of them, and the tests hold every entry
to the rule it names. An operation or analysis that is none of ours keeps rules of its own.
"""

from __future__ import annotations

from enum import StrEnum


class AlphaRule(StrEnum):
    """How transparent pixels count. By every rule but ``OWN``, what is invisible (alpha 0) changes nothing visible."""

    APART = "apart"
    VISIBLE = "visible"
    WEIGHED = "weighed"
    MOVED = "moved"
    OWN = "own"


MEANINGS = {
    AlphaRule.APART: "Each pixel's colour changes by itself, whatever its alpha is; alpha stays.",
    AlphaRule.VISIBLE: "Pixels whose alpha is above 0 count, each in full; the others count as if they weren't there.",
    AlphaRule.WEIGHED: "Pixels count by their alpha: half transparent ones by half, invisible ones not at all.",
    AlphaRule.MOVED: "Alpha is moved with the colours; where pixels are mixed, colours count by their alpha.",
    AlphaRule.OWN: "As the plug-in does it.",
}
"""For the reference."""
