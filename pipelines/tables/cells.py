"""Names and texts as cells that are harmless and readable, whatever bytes they come from.

Covers path names as text, texts that a spreadsheet would run, and control characters. Does not cover HTML: the report
escapes for itself.
"""

from __future__ import annotations

import unicodedata

FORMULA_STARTS = frozenset("=+-@\t\r\n\0")
"""First characters that make a spreadsheet take a text for a formula (OWASP ASVS 1.2.10, CWE-1236)."""

_C0_TO_STRIP = dict.fromkeys(set(range(0x20)) - set(map(ord, "\t\n\r")))
_BIDI_MARKS = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_NOT_ONE_LINE = (*range(0x80, 0xA0), 0x2028, 0x2029, *_BIDI_MARKS)
_ESCAPES = (
    {ord("\\"): "\\\\"}
    | {code: f"\\x{code:02x}" for code in (*range(0x20), 0x7F)}
    | {code: f"\\u{code:04x}" for code in _NOT_ONE_LINE}
    | {0xDC00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)}  # where surrogateescape puts stray bytes
)


def readable_path(path: bytes) -> str:
    r"""Write a path as one line of text: the name itself in ordinary cases, and never the same text for two paths.

    A byte that is not UTF-8 becomes ``\xff``; a control character or one that reverses the direction of text becomes
    ``\x0a`` or ``\u202e``; a backslash is doubled.
    """
    return path.decode("utf-8", "surrogateescape").translate(_ESCAPES)


def printable(text: str) -> str:
    """Take out the C0 control characters except tab, line feed and carriage return: for logs and table cells."""
    return text.translate(_C0_TO_STRIP)


def safe_cell(text: str) -> str:
    """Put an apostrophe before a text that a spreadsheet would run as a formula; any other text stays as it is.

    Full-width and other compatibility forms of ``= + - @`` (those that NFKC maps to them) count as well. Only for
    texts: numbers stay numbers.
    """
    first = unicodedata.normalize("NFKC", text[:1])[:1]
    return "'" + text if first in FORMULA_STARTS else text
