"""Patterns of file names: what they match, and into which directories a walk has to go for them.

``*`` is any characters of one name, ``?`` one character, ``[abc]``, ``[a-z]`` and ``[!abc]`` one of a set or one that
isn't in it, ``**`` any number of directories (at the end: everything below), and ``{jpg,png}`` either text, with
slashes and further braces if need be. The extension at the end matches in either case. All else stands for itself:
braces without a comma or without a partner, brackets without one, a backslash, a leading dot.

Matching goes name by name and keeps the places of the pattern that are reached, so it never goes back: its cost is
bounded by the lengths of pattern and path, whatever they are. Names are bytes; a character is what UTF-8 says, and a
byte that isn't UTF-8 is one character. Pure: nothing here looks at files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from pipelines.errors import JobError

MAX_BYTES = 1_000
MAX_ALTERNATIVES = 256

Part = re.Pattern[str] | None
"""What one name has to match; None is ``**``."""
Places = frozenset[tuple[int, int]]
"""The places (alternative, part) of a pattern that stand before the next name of a path."""

ANY = re.compile(r".*", re.DOTALL)
_TOKEN = re.compile(r"\[!?+[^/][^\]/]*+\]|.", re.DOTALL)
_EXTENSION = re.compile(r"\.[A-Za-z0-9]+")


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern; paths are given to it name by name, or whole to ``matches``."""

    alternatives: tuple[tuple[Part, ...], ...]

    @classmethod
    def parse(cls, text: bytes, *, below: bytes = b"") -> Glob:
        """A relative pattern; ``below`` is a directory whose names come first and stand for themselves.

        Raises
        ------
        JobError
            The pattern is too long, or has too many alternatives.
        """
        if len(text) > MAX_BYTES:
            raise JobError(f"a pattern of {len(text):,} bytes; {MAX_BYTES:,} are the most")
        above: list[Part] = [re.compile(re.escape(name)) for name in _decoded(below).split("/") if name]
        split = [_names(found) for found in _alternatives(_decoded(text))]
        return cls(tuple((*above, *parts) for parts in _joined(names for names in split if names)))

    @property
    def start(self) -> Places:
        return frozenset(place for number in range(len(self.alternatives)) for place in self._from(number, 0))

    def step(self, places: Places, name: bytes) -> Places:
        """The places behind one more name."""
        text = _decoded(name)
        found: set[tuple[int, int]] = set()
        for number, place in places:
            parts = self.alternatives[number]
            if place == len(parts):
                continue
            part = parts[place]
            if part is None:
                found.update(self._from(number, place))
            elif part.fullmatch(text):
                found.update(self._from(number, place + 1))
        return frozenset(found)

    def accepts(self, places: Places) -> bool:
        """Whether the names so far match."""
        return any(place == len(self.alternatives[number]) for number, place in places)

    def goes_on(self, places: Places) -> bool:
        """Whether the names so far may be a directory with something below that matches."""
        return any(place < len(self.alternatives[number]) for number, place in places)

    def takes_all_below(self, places: Places) -> bool:
        """Whether everything below the names so far matches."""
        return any(self.alternatives[number][place:] == (None, ANY) for number, place in places)

    def after(self, path: bytes) -> Places:
        """The places behind a relative path."""
        places = self.start
        for name in path.split(b"/"):
            places = self.step(places, name)
        return places

    def matches(self, path: bytes) -> bool:
        """Whether a relative path matches as a whole."""
        return self.accepts(self.after(path))

    def _from(self, number: int, place: int) -> Iterator[tuple[int, int]]:
        """A place, and those that are reached from it because ``**`` may be no directory at all."""
        yield number, place
        parts = self.alternatives[number]
        while place < len(parts) and parts[place] is None:
            place += 1
            yield number, place


def is_pattern(text: bytes) -> bool:
    """Whether a text could match anything but itself (the case of its extension aside)."""
    tokens = _TOKEN.findall(_decoded(text))
    return bool(_marks(tokens)) or any(token in ("*", "?") or len(token) > 1 for token in tokens)


def components(text: bytes) -> list[bytes]:
    """A pattern's parts between slashes; a slash between braces is within a part."""
    tokens = _TOKEN.findall(_decoded(text))
    marks, depth, found = _marks(tokens), 0, [""]
    for place, token in enumerate(tokens):
        if place in marks:
            depth += {"{": 1, "}": -1}.get(token, 0)
        if token == "/" and depth == 0:
            found.append("")
        else:
            found[-1] += token
    return [part.encode("utf-8", "surrogateescape") for part in found]


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _marks(tokens: list[str]) -> set[int]:
    """The places of the braces and commas that make alternatives."""
    marks: set[int] = set()
    opened: list[list[int]] = []  # of each open brace its place and those of its commas
    for place, token in enumerate(tokens):
        if token == "{":
            opened.append([place])
        elif token == "," and opened:
            opened[-1].append(place)
        elif token == "}" and opened:
            group = opened.pop()
            if len(group) > 1:
                marks |= {*group, place}
    return marks


def _alternatives(text: str) -> list[str]:
    """The texts that braces stand for, each once."""
    tokens = _TOKEN.findall(text)
    marks = _marks(tokens)
    outer: list[tuple[list[str], list[str]]] = []  # around each open brace: what comes before it, what is in it so far
    current = [""]
    for place, token in enumerate(tokens):
        if place not in marks:
            current = [begun + token for begun in current]
        elif token == "{":
            outer.append((current, []))
            current = [""]
        elif token == ",":
            outer[-1][1].extend(current)
            current = [""]
        else:
            before, inside = outer.pop()
            inside.extend(current)
            if len(before) * len(inside) > MAX_ALTERNATIVES:
                raise JobError(f"a pattern whose braces have more than {MAX_ALTERNATIVES} alternatives")
            current = [begun + ended for begun in before for ended in inside]
    return list(dict.fromkeys(current))


def _names(text: str) -> list[str]:
    """A pattern's parts, without those that say nothing; behind ``**`` at the end comes one name more."""
    names: list[str] = []
    for name in text.split("/"):
        if name not in ("", ".") and (name, names[-1:]) != ("**", ["**"]):
            names.append(name)
    return [*names, "*"] if names[-1:] == ["**"] else names


def _joined(split: Iterable[list[str]]) -> Iterator[tuple[Part, ...]]:
    """Patterns that differ in the last name alone become one, so that ``*.{jpg,png}`` costs hardly more than ``*``."""
    for above, group in groupby(sorted(split), lambda names: names[:-1]):
        parts: list[Part] = [None if name == "**" else _compiled([_expression(name)]) for name in above]
        yield (*parts, _compiled([_expression(names[-1], is_last=True) for names in group]))


def _compiled(expressions: list[str]) -> re.Pattern[str]:
    return ANY if ANY.pattern in expressions else re.compile("|".join(expressions), re.DOTALL)


def _expression(name: str, *, is_last: bool = False) -> str:
    """A regular expression for one name, which takes each ``*`` as short as it can and never comes back to it."""
    extension = _EXTENSION.fullmatch(name, max(name.rfind("."), 0)) if is_last else None
    stem = name[: extension.start()] if extension else name
    chunks = [""]
    for token in _TOKEN.findall(stem):
        if token == "*":
            chunks.append("")
        else:
            chunks[-1] += "." if token == "?" else _set(token) if len(token) > 1 else re.escape(token)
    chunks[-1] += _in_either_case(extension[0]) if extension else ""
    if len(chunks) == 1:
        return chunks[0]
    first, *between, last = chunks
    # What stands between two stars has a fixed length, so its first occurrence leaves most to the rest.
    return first + "".join(f"(?>.*?{chunk})" for chunk in between if chunk) + f".*{last}"


def _in_either_case(extension: str) -> str:
    """Only ASCII: with a flag, the Kelvin sign would be a ``k``."""
    return "".join(f"[{c.lower()}{c.upper()}]" if c.isalpha() else re.escape(c) for c in extension)


def _set(token: str) -> str:
    """``[abc]``, ``[a-z]`` or ``[!abc]`` as a regular expression; a range that runs backwards is empty."""
    inside = token[1:-1]
    negated = inside.startswith("!")
    left, found = inside[negated:], ""
    while left:
        if len(left) > 2 and left[1] == "-":
            first, last, left = left[0], left[2], left[3:]
            found += f"{re.escape(first)}-{re.escape(last)}" if first <= last else ""
        else:
            found, left = found + re.escape(left[0]), left[1:]
    if not found:
        return "." if negated else "(?!)"
    return f"[{'^' if negated else ''}{found}]"
