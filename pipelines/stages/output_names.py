"""Output names: a pure function of the input's name, its place and the job.

Covers the pattern grammar, making each field one harmless path component, layouts, and when two names would be one
file. Which of two clashing inputs gets which name is decided where all of them are known: ``actors.ledger.input_plan``.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from string import Formatter
from typing import Literal

from pipelines.column_models import Cell, check_column_name

FIELDS = ("stem", "ext", "index", "job", "relpath", "width", "height")
MAX_COMPONENT_BYTES = 200
"""File systems take 255; the rest is for suffixes."""

_NUMBERS = {"index", "width", "height"}
_FORMAT = re.compile(r"0?\d{1,2}d?")
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
_LIKE_A_FRAME = re.compile(r"-p[0-9]{4,}$", re.IGNORECASE)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.+-]+")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class NamePattern:
    """A parsed name pattern such as ``{stem}_{index:04d}``."""

    text: str
    parts: tuple[tuple[str, str, str], ...]
    """(literal text before it, field or empty, format) each."""

    @classmethod
    def parse(cls, text: str, columns: Container[str] | None = ()) -> NamePattern:
        """Check a pattern; ``columns`` are further fields that it may have, None: any name that a column may have.

        Raises
        ------
        ValueError
            An unknown field, a format that the field doesn't take, a path that could leave the output, or no field
            that tells inputs apart.
        """
        try:
            parsed = list(Formatter().parse(text))
        except ValueError as error:
            raise ValueError(f"not a name pattern: {error}") from error
        parts = []
        for literal, name, spec, conversion in parsed:
            if name is not None:
                _check_field(name, spec or "", conversion, columns)
            parts.append((literal, name or "", spec or ""))
        literals = "".join(literal for literal, _, _ in parts)
        if text.startswith("/") or ".." in text or _FORBIDDEN.search(literals.replace("/", "")):
            raise ValueError("a name pattern is relative, with / between directories and no .. or control characters")
        pattern = cls(text, tuple(parts))
        if not pattern.columns and not {name for _, name, _ in parts} & {"stem", "relpath", "index"}:
            raise ValueError("a name pattern needs {stem}, {relpath} or {index}, or all inputs get one name")
        return pattern

    @property
    def columns(self) -> dict[str, str]:
        """Column of the inputs that a name says -> its format, or empty."""
        return {name: spec for _, name, spec in self.parts if name and name not in FIELDS}

    @staticmethod
    def unknown(name: str) -> str:
        """What to say of a field that there isn't."""
        return f"unknown field {{{name}}} in the name pattern; known: {', '.join(FIELDS)}, and columns of the inputs"

    @property
    def needs_size(self) -> bool:
        """Whether the inputs' headers must be read to name them."""
        return any(name in ("width", "height") for _, name, _ in self.parts)

    @property
    def is_numbered(self) -> bool:
        """Whether a name says the input's number."""
        return any(name == "index" for _, name, _ in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class NameSource:
    """What a name is made of."""

    relative: bytes
    """The input's path below its root, exact."""
    index: int
    """Its number: in the user's order, given once."""
    job: str
    width: int = 0
    height: int = 0
    cells: Mapping[str, Cell] = field(default_factory=dict)
    """Of the columns that a pattern may name."""


def output_name(pattern: NamePattern, source: NameSource, *, layout: Literal["mirror", "flat", "beside"]) -> str:
    """The relative path below ``images/``, without the suffix of the format; always harmless, mostly readable.

    A field becomes part of one component: separators, control characters and what Windows forbids are replaced. When
    that lost something, a short hash of the exact bytes keeps different inputs apart.
    """
    directory, _, base = source.relative.rpartition(b"/")
    stem, dot, ext = base.rpartition(b".")
    if not stem:
        stem, dot, ext = base, b"", b""
    fields: dict[str | None, Callable[[], str]] = {
        "stem": lambda: _component(stem),
        "ext": lambda: _component(ext) if dot else "",
        "job": lambda: source.job,
        "relpath": lambda: "/".join(_component(part) for part in [*directory.split(b"/"), stem] if part),
    }
    numbers = {"index": source.index, "width": source.width, "height": source.height}
    text = ""
    for literal, name, spec in pattern.parts:
        text += literal
        if name in _NUMBERS:
            text += format(numbers[name], spec)
        elif name in fields:
            text += fields[name]()
        elif name:
            text += _component(_cell_text(source.cells.get(name), spec).encode("utf-8", "surrogatepass"))
    own = [_safe(part) for part in text.split("/") if part]
    above = [] if layout == "flat" or directory == b"" else [_component(part) for part in directory.split(b"/") if part]
    if any(name == "relpath" for _, name, _ in pattern.parts):
        above = []
    return "/".join(above + own)


def collision_key(name: str) -> str:
    """Names with the same key are one file where names are case-insensitive or normalised (NTFS, APFS, SMB)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def renamed(name: str, number: int) -> str:
    """The ``number``-th name (2, 3, ...) for inputs that would all be called ``name``."""
    return f"{name}-{number}"


def frame_name(name: str, number: int) -> str:
    """The name for the outputs of one of a file's images, from 1: the first has the plain name, then ``-p0002``."""
    return name if number == 1 else f"{name}-p{number:04d}"


def is_frame_name(file: str) -> bool:
    """Whether a file's name, with its suffix, is that of a further image of some file."""
    return _LIKE_A_FRAME.search(file.rpartition(".")[0]) is not None


def apart_from_frames(name: str) -> str:
    """A name that no ``frame_name`` of another input can be, whatever that one is called."""
    return f"{name}_" if _LIKE_A_FRAME.search(name) else name


def _check_field(name: str, spec: str, conversion: str | None, columns: Container[str] | None) -> None:
    is_column = name not in FIELDS
    if is_column and columns is None:
        check_column_name(name)
    elif is_column and name not in (columns or ()):
        raise ValueError(NamePattern.unknown(name))
    if conversion:
        raise ValueError(f"{{{name}!{conversion}}}: conversions are not part of name patterns")
    if spec and not ((name in _NUMBERS or is_column) and _FORMAT.fullmatch(spec)):
        raise ValueError(
            f"{{{name}:{spec}}}: only {{index}}, {{width}}, {{height}} and whole numbers take a format, such as :04d"
        )


def _cell_text(cell: Cell, spec: str) -> str:
    """A cell as a part of a name, as people write it."""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, int):
        return format(cell, spec)
    if isinstance(cell, float):
        return repr(cell).removesuffix(".0")
    return (cell or "").replace(":", "-") if _TIME.fullmatch(cell or "") else cell or ""


def _component(raw: bytes) -> str:
    """One path component from exact bytes."""
    text = raw.decode("utf-8", "surrogateescape")
    readable = re.sub(r"[\ud800-\udfff]", "_", text)
    safe = _safe(readable)
    if safe == text:
        return safe
    digest = hashlib.sha256(raw).hexdigest()[:8]
    return f"{_cut(safe, MAX_COMPONENT_BYTES - 9)}-{digest}"


def _safe(text: str) -> str:
    """A component that every file system takes; ``_`` stands for what is forbidden."""
    safe = _FORBIDDEN.sub("_", text)
    safe = safe.rstrip(" .") or "_"
    if safe.startswith((" ", "-")) or safe in ("..", "."):
        safe = f"_{safe[1:]}"
    if _RESERVED.fullmatch(safe):
        safe = f"_{safe}"
    return _cut(safe, MAX_COMPONENT_BYTES)


def _cut(text: str, most_bytes: int) -> str:
    return text.encode()[:most_bytes].decode("utf-8", "ignore")
