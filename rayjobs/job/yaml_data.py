"""YAML as data: no aliases, no tags, no key twice, not deep, and numbers are what was typed.

Covers syntax, and what a scalar without quotes means: YAML 1.1's words (``yes``, ``off``, ``~``), YAML 1.2's numbers,
underscores between digits. ``030`` is thirty, ``1e3`` a number, and ``2026-11-26`` text. Keys are text as typed. What
the data must look like: ``job_check``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from typing import Any

import yaml

from pipelines.errors import RayjobsError

MAX_DEPTH = 20
MAX_NUMBER = 1000
"""Characters of a number: far more than any has, and few enough for Python to convert and to show."""

Location = tuple[str | int, ...]
"""Keys and indices that lead from the top of a text to a value."""

_WORDS: dict[str, bool | None] = {
    spelling: value
    for word, value in {"yes": True, "no": False, "true": True, "false": False, "on": True, "off": False}.items()
    for spelling in (word, word.capitalize(), word.upper())
} | dict.fromkeys(("", "~", "null", "Null", "NULL"))

_DIGITS = r"[0-9]+(?:_[0-9]+)*"
_DECIMAL = re.compile(rf"[-+]?{_DIGITS}")
_PREFIXED = re.compile(r"[-+]?0(?:x[0-9a-fA-F]+(?:_[0-9a-fA-F]+)*|o[0-7]+(?:_[0-7]+)*|b[01]+(?:_[01]+)*)")
_FLOAT = re.compile(rf"[-+]?(?:\.{_DIGITS}|{_DIGITS}(?:\.(?:{_DIGITS})?)?)(?:[eE][-+]?[0-9]+)?")
_NO_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
# Whole numbers don't begin with 0 in base 60, as YAML 1.1 has it: 01:30 is text.
_BASE_60 = re.compile(r"[-+]?(?:[1-9][0-9_]*(?::[0-5]?[0-9])+|[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*)")


class YamlDataError(RayjobsError):
    """A text isn't YAML, or is more than data; it says line, column and why."""


class _Loader(yaml.BaseLoader):
    """YAML without aliases and tags, so that a small file stays small; what scalars mean isn't decided here."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.MarkedYAMLError(problem="aliases are not allowed", problem_mark=event.start_mark)
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise yaml.MarkedYAMLError(problem=f"tags ({tag}) are not allowed", problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        if isinstance(node, yaml.ScalarNode):
            node.value = _with_pairs_joined(node.value)
        return node


def compose(text: str) -> yaml.Node:
    """The tree of a text, with positions.

    Raises
    ------
    YamlDataError
        With the first place where the text isn't YAML, or isn't data only.
    """
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
        raise YamlDataError(f"{place}: a character that no text has: U+{ord(text[error.position]):04X}") from error
    try:
        root = loader.get_single_node()
        if root is None:
            raise YamlDataError("1:1: the file is empty; `rayjobs init` writes an example")
        _check_tree(root, 1)
    except yaml.MarkedYAMLError as error:
        mark, problem = _in_plain_words(error, text)
        place = f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
        raise YamlDataError(f"{place}: {problem}") from error
    except yaml.YAMLError as error:
        raise YamlDataError(f"1:1: not YAML: {error}") from error
    except RecursionError as error:
        raise YamlDataError(f"1:1: nested deeper than {MAX_DEPTH} levels") from error
    finally:
        loader.dispose()
    return root


def _in_plain_words(error: yaml.MarkedYAMLError, text: str) -> tuple[yaml.Mark | None, str]:
    """Where a text isn't YAML and what to do, for somebody who doesn't know its grammar."""
    mark, problem = error.problem_mark, error.problem or error.context or "not YAML"
    if mark is None:
        return mark, problem
    lines = text.splitlines()
    rest = lines[mark.line][mark.column :] if mark.line < len(lines) else ""
    before = lines[mark.line][: mark.column] if mark.line < len(lines) else ""
    if "alphabetic or numeric character" in problem:  # told of what follows the sign
        sign, rest = before[-1:], before[-1:] + rest
    else:
        sign = rest[:1]
    if sign == "\t":
        return mark, "a tab; YAML is indented with spaces"
    if sign and sign in "*&@`%":
        word = _ENDS_OF_WORD.split(rest, maxsplit=1)[0].strip()
        aliases = "aliases (& and *) are not allowed; " if "aliases" in problem else ""
        return mark, f'{aliases}a value that begins with {sign} is put in quotes: "{word}"'
    if problem == "mapping values are not allowed here":
        return mark, "a colon and a space within a value: put the value in quotes"
    if problem.startswith(("expected ',' or ']'", "expected ',' or '}'")):
        end = problem[-2] if error.context_mark is None else problem.partition(" or '")[2][:1]
        opened = error.context_mark or mark
        return opened, f"what is opened here isn't closed: a {end} is missing, or a comma between two values"
    return mark, problem


_ENDS_OF_WORD = re.compile(r"[,\]}]| #")


def construct(root: yaml.Node) -> tuple[Any, dict[Location, str]]:
    """The data of a tree, and why scalars in it can't be read, by location; the data has their text, cut short."""
    misread: dict[Location, str] = {}
    return _value(root, (), misread), misread


def place(root: yaml.Node, location: Location) -> tuple[int, int]:
    """Line and column, from 1, of the deepest node on the way that exists."""
    node, mark = root, root.start_mark
    for part in location:
        found: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    found, mark = value, key.start_mark
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = node.value[part]
            mark = found.start_mark
        if found is None:
            break
        node = found
    return mark.line + 1, mark.column + 1


def with_numbers_as_typed(root: yaml.Node, data: Any, keys: Collection[str]) -> Any:
    """The data of a tree where numbers of some keys at the top, or in lists there, are the text that was typed."""
    if not isinstance(root, yaml.MappingNode) or not isinstance(data, dict):
        return data
    typed = {key.value: _as_typed(value, data[key.value]) for key, value in root.value if key.value in keys}
    return data | typed


def _as_typed(node: yaml.Node, value: Any) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return [_as_typed(*each) for each in zip(node.value, value, strict=True)]
    return node.value if isinstance(value, int | float) and not isinstance(value, bool) else value


def is_text(plain: str) -> bool:
    """Whether a scalar means the very text that it is when it stands there without quotes."""
    try:
        return isinstance(_plain(plain), str)
    except ValueError:
        return False


def _with_pairs_joined(text: str) -> str:
    # JSON spells a character beyond U+FFFF as two escapes, each of which YAML takes for a character.
    if not any("\ud800" <= character <= "\udfff" for character in text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _check_tree(node: yaml.Node, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise yaml.MarkedYAMLError(problem=f"nested deeper than {MAX_DEPTH} levels", problem_mark=node.start_mark)
    if isinstance(node, yaml.SequenceNode):
        for child in node.value:
            _check_tree(child, depth + 1)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            _check_key(key, seen)
            _check_tree(value, depth + 1)


def _check_key(key: yaml.Node, seen: set[str]) -> None:
    if not isinstance(key, yaml.ScalarNode):
        raise yaml.MarkedYAMLError(problem="keys are words", problem_mark=key.start_mark)
    if key.value == "<<" and key.style is None:
        raise yaml.MarkedYAMLError(problem="merging (<<) is not allowed", problem_mark=key.start_mark)
    if key.value in seen:
        raise yaml.MarkedYAMLError(problem=f"{key.value!r} stands here twice", problem_mark=key.start_mark)
    seen.add(key.value)


def _value(node: yaml.Node, location: Location, misread: dict[Location, str]) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {key.value: _value(value, (*location, key.value), misread) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_value(value, (*location, index), misread) for index, value in enumerate(node.value)]
    text: str = node.value
    if getattr(node, "style", None) is not None:  # in quotes, or a block
        return text
    try:
        return _plain(text)
    except ValueError as error:
        misread[location] = str(error)
        return _shown(text)


def _plain(text: str) -> bool | int | float | str | None:
    """What a scalar without quotes means; a ValueError says why it can't be told."""
    if text in _WORDS:
        return _WORDS[text]
    if _DECIMAL.fullmatch(text) or _PREFIXED.fullmatch(text) or _FLOAT.fullmatch(text):
        return _number(text)
    if _NO_FINITE.fullmatch(text):
        raise ValueError(f"{text} is no finite number; put it in quotes, or write a decimal number")
    if _BASE_60.fullmatch(text):
        raise ValueError(f"{_shown(text)} reads as a number in base 60; put it in quotes, or write a decimal number")
    return text


def _number(text: str) -> int | float:
    if len(text) > MAX_NUMBER:
        raise ValueError(f"a number of {len(text):,} characters; the longest has {MAX_NUMBER:,}, text is put in quotes")
    number: int | float
    if _PREFIXED.fullmatch(text):
        number = int(text, 0)
    elif _DECIMAL.fullmatch(text):
        number = int(text)
    else:
        number = float(text)
    if not is_finite(number):
        raise ValueError(f"{_shown(text)} is too large for a number; text is put in quotes")
    return number


def _shown(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def is_finite(number: float) -> bool:
    """Whether a number can be a float; also of whole numbers, since any may stand for one."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False
