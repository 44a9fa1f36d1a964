"""What is wrong in a job, in words for whoever wrote it: what may stand there, what stands there instead, what is near.

The checks themselves: ``job_check``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from pipelines.registry import nearest
from rayjobs.job.yaml_data import Location

EVERYDAY_NAMES = {
    "blur": "gaussian",
    "gaussian_blur": "gaussian",
    "sharpen": "unsharp_mask",
    "usm": "unsharp_mask",
    "brightness": "brightness_contrast",
    "contrast": "brightness_contrast",
    "saturation": "hue_saturation",
    "hue": "hue_saturation",
    "vibrance": "hue_saturation",
    "bw": "grayscale",
    "black_and_white": "grayscale",
    "monochrome": "grayscale",
    "desaturate": "grayscale",
    "scale": "resize",
    "thumbnail": "resize",
    "orient": "auto_orient",
    "autorotate": "auto_orient",
    "mirror": "flip",
    "wb": "white_balance",
    "negative": "invert",
    "histogram": "color_histogram",
    "parade": "rgb_parade",
    "waveform": "luma_waveform",
    "vectorscope": "lab_chromaticity",
    "focus": "sharpness",
    "blurriness": "sharpness",
    "stats": "statistics",
    "duplicates": "image_hash",
    "phash": "image_hash",
    "cells": "objects",
    "particles": "objects",
}
"""What people call an operation or an analysis -> its name."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong in a job."""

    location: Location
    message: str


def model_mistakes(error: ValidationError, model: type[BaseModel]) -> Iterator[Mistake]:
    errors = error.errors(include_url=False)
    for entry in errors:
        location = location_of(entry)
        if entry["type"] == "literal_error" and any(location_of(e) == location for e in errors if e is not entry):
            continue  # a word or a number: the number says what is wrong with it
        yield Mistake(location, _message(entry, location, model))


def location_of(entry: Any) -> Location:
    """Where in the file an error of the model is."""
    return tuple(part for part in entry["loc"] if not _is_internal(part))


_CHOICES = ("ImageExport", "ChartExport", "int", "constrained-int", "float", "str")


def _is_internal(part: str | int) -> bool:
    """Parts of a location that name a choice inside pydantic, not a key of the file."""
    return isinstance(part, str) and ("[" in part or part in _CHOICES)


def _message(entry: Any, location: Location, model: type[BaseModel]) -> str:
    kind, value = entry["type"], entry["input"]
    if kind == "extra_forbidden":
        names = list(_model_at(location[:-1], model).model_fields)
        return f"unknown key{nearest(str(location[-1]), names) or '; known: ' + ', '.join(names)}"
    if kind == "value_error":
        return str(entry["ctx"]["error"])
    text = _EVERYDAY_TEXTS.get(kind)
    if text is not None:
        return text
    if kind == "string_type" and not isinstance(value, list | dict):
        return f"expected text, {_instead_of_text(value)}"
    return f"{_wanted(entry, location, model)}, not {shown(value)}{_near_choice(entry)}"


_EVERYDAY_TEXTS = {"missing": "is required", "too_short": "nothing stands here; give at least one"}
_NOUNS = {
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    "list_type": "a list",
}
_BOUNDS = {"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt", "less_than_equal": "le"}


def _wanted(entry: Any, location: Location, model: type[BaseModel]) -> str:
    """What is allowed where something else stands."""
    if entry["type"] == "literal_error":
        return "give " + str(entry["ctx"]["expected"]).replace("'", "")
    if entry["type"] in _BOUNDS:
        return f"give {_bounds_text(location, model, entry)}"
    if noun := _NOUNS.get(entry["type"]):
        bounds = _bounds_text(location, model, entry)
        return f"give {noun}, {bounds}" if bounds else f"give {noun}"
    if entry["type"] in ("model_type", "dict_type"):
        keys = list(getattr(_model_at(location, model), "model_fields", ()))
        return f"write its keys: {', '.join(keys)}" if keys else "write keys and their values"
    text = str(entry["msg"])
    return f"{text[:1].lower()}{text[1:]}"


def _near_choice(entry: Any) -> str:
    if entry["type"] != "literal_error" or not isinstance(entry["input"], str):
        return ""
    choices = str(entry["ctx"]["expected"]).replace(" or ", ", ").replace("'", "").split(", ")
    near = nearest(entry["input"], choices)
    return near if near.count("'") == 2 else ""  # one, that is


def _bounds_text(location: Location, model: type[BaseModel], entry: Any) -> str:
    """From where to where a number may be."""
    field = _model_at(location[:-1], model).model_fields.get(str(location[-1]))
    found = {_BOUNDS[entry["type"]]: next(iter(entry["ctx"].values()))} if entry["type"] in _BOUNDS else {}
    for mark in _marks(field.annotation, field.metadata) if field else ():
        found |= {name: getattr(mark, name) for name in _BOUNDS.values() if getattr(mark, name, None) is not None}
    if "ge" in found and "le" in found:
        return f"{found['ge']} to {found['le']}"
    words = (("gt", "more than"), ("ge", "at least"), ("lt", "less than"), ("le", "at most"))
    return ", ".join(f"{word} {found[name]}" for name, word in words if name in found)


def _marks(annotation: Any, metadata: Sequence[Any]) -> Iterator[Any]:
    """What is said of a value, of any of its choices."""
    for mark in metadata:
        yield from getattr(mark, "metadata", ()) or (mark,)
    for choice in getattr(annotation, "__args__", ()):
        yield from _marks(choice, getattr(choice, "__metadata__", ()))


def _instead_of_text(value: object) -> str:
    """What stands where text was meant, as it was read."""
    if value is None:
        return "and nothing stands here"
    if isinstance(value, bool):
        spellings = "yes, on and true" if value else "no, off and false"
        return f"which {spellings} aren't without quotes; put it in quotes"
    return f"not the number {shown(value)}; put it in quotes"


def _model_at(location: Location, model: Any) -> Any:
    """The model of the mapping at a location; the one around it where it has names of the user's."""
    for part in location:
        if str(part) not in model.model_fields:
            return model
        annotation = model.model_fields[str(part)].annotation
        options = [
            option for option in getattr(annotation, "__args__", (annotation,)) if hasattr(option, "model_fields")
        ]
        model = options[0] if options else model
    return model


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def dotted(location: Location) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return f"{text.removeprefix('.')}: " if text else ""
