"""Operations of the old batch format as steps of a job file: names, ranges and the maths between them.

Covers reading an operation in both of its spellings, without running any of it, and what each becomes. Whole jobs:
``old_jobs``. The maths is documented for users in ``docs/how-to/migrate.md``.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from pipelines.operations import OPERATIONS

MAX_TEXT = 100_000
Step = dict[str, dict[str, Any]]
"""One step of a job file: its name and its parameters."""


class UnreadableOperationError(ValueError):
    """An operation of the old format that has no counterpart; the text says why."""


@dataclass(frozen=True, slots=True)
class OldOperation:
    """An operation as the old file has it."""

    name: str
    params: dict[str, Any]
    rest: dict[str, Any] = field(default_factory=dict)
    """What stood beside it in its object, by key."""


@dataclass(frozen=True, slots=True)
class Steps:
    """What an old operation becomes."""

    steps: tuple[Step, ...]
    unused: Mapping[str, Any] = field(default_factory=dict)
    """Parameters that the new operations don't have."""
    assumed: Mapping[str, Any] = field(default_factory=dict)
    """Parameters that the old operation left out, with what was taken instead."""
    remark: str = ""
    """How the result differs, when it may."""


def read_operation(value: Any) -> OldOperation:
    """An operation from ``{"op": name, "params": {...}}`` or from text such as ``"ThresholdOp(value=20)"``.

    Raises
    ------
    UnreadableOperationError
    """
    if isinstance(value, str):
        return _read_text(value)
    if not isinstance(value, dict) or not isinstance(value.get("op"), str):
        raise UnreadableOperationError("not an operation: neither an object with `op`, nor text")
    params = value.get("params")
    if params is not None and not isinstance(params, dict):
        raise UnreadableOperationError("`params` is not an object")
    rest = {key: entry for key, entry in value.items() if key not in ("op", "params")}
    return OldOperation(value["op"], dict(params or {}), rest)


def _read_text(text: str) -> OldOperation:
    if len(text) > MAX_TEXT:
        raise UnreadableOperationError(f"text longer than {MAX_TEXT:,} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's advice on odd expressions
            call = ast.parse(text.strip(), mode="eval").body
            match call:
                case ast.Call(func=ast.Name(id=class_name), args=args, keywords=keywords):
                    values = [ast.literal_eval(arg) for arg in args]
                    named = {str(word.arg): ast.literal_eval(word.value) for word in keywords if word.arg}
                    starred = any(word.arg is None for word in keywords)
                case ast.Name(id=class_name):
                    values, named, starred = [], {}, False
                case _:
                    raise UnreadableOperationError("text that is no operation")
    except UnreadableOperationError:
        raise
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise UnreadableOperationError("text that is no operation with plain values") from error
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", class_name.removesuffix("Op")).lower()
    known = list(_KNOWN[name].defaults) if name in _KNOWN else []
    if starred or len(values) > len(known) or set(known[: len(values)]) & set(named):
        raise UnreadableOperationError("arguments that can't be told apart")
    return OldOperation(name, {**dict(zip(known, values, strict=False)), **named})


def convert_operation(old: OldOperation) -> Steps:
    """The steps of a job file that do what an old operation did.

    Raises
    ------
    UnreadableOperationError
        Its name is unknown, or a value isn't what its parameter takes.
    """
    if old.name not in _KNOWN:
        raise UnreadableOperationError(f"unknown operation {old.name!r}")
    known = _KNOWN[old.name]
    given = {name: old.params.get(name, default) for name, default in known.defaults.items()}
    try:
        steps = known.convert(**given)
        for step in steps:
            for name, params in step.items():
                OPERATIONS[name].parameters(**params)
    except UnreadableOperationError as error:
        raise UnreadableOperationError(f"{old.name}: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UnreadableOperationError(f"{old.name}: {place}: {first['msg']}") from error
    unused = {name: value for name, value in old.params.items() if name not in known.defaults}
    assumed = {name: value for name, value in known.defaults.items() if name not in old.params}
    return Steps(tuple(steps), unused, assumed, known.remark)


# ---- the maths -------------------------------------------------------------------------------------------------------


def _number(name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise UnreadableOperationError(f"{name} is a number in {low:g} to {high:g}")
    return float(value)


def _percent(name: str, value: Any) -> float:
    return _number(name, value, -100, 100) / 100


def _triple(name: str, value: Any) -> tuple[float, ...]:
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise UnreadableOperationError(f"{name} is three numbers in -100 to 100")
    return tuple(_percent(name, entry) for entry in value)


def _short(value: float) -> float:
    """Without the noise of binary fractions: far below a level of 16 bits."""
    return round(value, 8)


def _brightness_contrast(brightness: Any, contrast: Any) -> list[Step]:
    shift, slope = _percent("brightness", brightness), 1 + _percent("contrast", contrast)
    return [{"brightness_contrast": {"brightness": _short(shift), "contrast": _short(slope)}}]


def _color_balance(shadows: Any, midtones: Any, highlights: Any) -> list[Step]:
    return [
        {
            "color_balance": {
                "lift": [_short(value / 2) for value in _triple("shadows", shadows)],
                "gamma": [_short(2**value) for value in _triple("midtones", midtones)],
                "gain": [_short(1 + value / 2) for value in _triple("highlights", highlights)],
            }
        }
    ]


def _levels(black: Any, white: Any, gamma: Any) -> list[Step]:
    low, high = _number("black", black, 0, 255), _number("white", white, 0, 255)
    if low >= high:
        raise UnreadableOperationError("black is not below white")
    middle = _number("gamma", gamma, 0.1, 9.99)
    return [{"levels": {"in_black": _short(low / 255), "in_white": _short(high / 255), "gamma": middle}}]


def _curves(points: Any) -> list[Step]:
    if not isinstance(points, list | tuple) or not all(isinstance(p, list | tuple) and len(p) == 2 for p in points):
        raise UnreadableOperationError("points is a list of [in, out]")
    pairs = sorted([_number("in", x, 0, 255), _number("out", y, 0, 255)] for x, y in points)
    return [{"curves": {"points": [[_short(x / 255), _short(y / 255)] for x, y in pairs]}}]


def _hue_saturation(hue: Any, saturation: Any, lightness: Any) -> list[Step]:
    turn, factor = _number("hue", hue, -180, 180), 1 + _percent("saturation", saturation)
    light = _percent("lightness", lightness)
    steps: list[Step] = [{"hue_saturation": {"hue": turn, "saturation": _short(factor)}}]
    if light > 0:  # towards white, as much as lightness says
        steps.append({"levels": {"out_black": _short(light)}})
    elif light < 0:
        steps.append({"levels": {"out_white": _short(1 + light)}})
    return steps


def _threshold(value: Any) -> list[Step]:
    limit = _number("value", value, 0, 255)
    gray: Step = {"grayscale": {"method": "bt601"}}
    if limit >= 255:  # nothing is brighter
        return [gray, {"levels": {"out_white": 0.0}}]
    # Levels of a single step: v <= value becomes black, v >= value + 1 white, which of 8 bits is everything.
    return [gray, {"levels": {"in_black": _short(limit / 255), "in_white": _short(min((limit + 1) / 255, 1))}}]


def _gaussian_blur(radius: Any) -> list[Step]:
    sigma = _number("radius", radius, 0, 200)
    return [{"gaussian": {"sigma": sigma}}] if sigma else []


def _sharpen(amount: Any) -> list[Step]:
    return [{"unsharp_mask": {"amount": _number("amount", amount, -1, 20)}}]


def _median(size: Any) -> list[Step]:
    radius = int(_number("size", size, 0, 101)) // 2
    return [{"median": {"radius": radius}}] if radius else []


def _edge(method: Any) -> list[Step]:
    if method not in ("sobel", "canny"):
        raise UnreadableOperationError(f"method {method!r}; there are sobel and canny")
    return [{"edges": {"method": method}}]


def _plain(name: str, **params: Any) -> Callable[[], list[Step]]:
    return lambda: [{name: dict(params)}]


@dataclass(frozen=True, slots=True)
class _Known:
    convert: Callable[..., list[Step]]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Every parameter of the old operation, in its order, with the value that changes nothing, or the usual one."""
    remark: str = ""


_KNOWN: Mapping[str, _Known] = {
    "brightness_contrast": _Known(_brightness_contrast, {"brightness": 0, "contrast": 0}),
    "color_balance": _Known(
        _color_balance,
        {"shadows": [0, 0, 0], "midtones": [0, 0, 0], "highlights": [0, 0, 0]},
        "became lift, gamma and gain, which weigh the tones otherwise: compare a picture",
    ),
    "levels": _Known(_levels, {"black": 0, "white": 255, "gamma": 1.0}),
    "curves": _Known(_curves, {"points": [[0, 0], [255, 255]]}),
    "hue_saturation": _Known(_hue_saturation, {"hue": 0, "saturation": 0, "lightness": 0}),
    "grayscale": _Known(_plain("grayscale", method="bt601")),
    "invert": _Known(_plain("invert")),
    "threshold": _Known(_threshold, {"value": 128}),
    "equalize": _Known(_plain("equalize")),
    "gaussian_blur": _Known(_gaussian_blur, {"radius": 1}),
    "sharpen": _Known(_sharpen, {"amount": 1}),
    "median": _Known(_median, {"size": 3}),
    "edge": _Known(_edge, {"method": "sobel"}),
}
