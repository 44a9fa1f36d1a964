"""Export settings of the old batch format as the section ``export.images`` of a job file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipelines.stages.output_names import NamePattern
from rayjobs.migration.old_notes import Reading, read_choice, read_count, read_directory

_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"\\|?*]')


def image_export(reading: Reading, config: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """``export.images`` of the job file, and the old output directory."""
    section = Reading(f"{reading.place}export_config.", config, reading.notes)
    images: dict[str, Any] = {"format": "original"}
    known = {"output_directory", "output_directory_mode", "naming_pattern", "export_format", "conflict_resolution"}
    known |= {"prefix", "suffix", "start_index", "index_digits", "custom_pattern", "jpeg_quality", "png_compression"}
    for key, value in config.items():
        if key not in known:
            section.note(key, "left", "unknown key", value)
    format_name = read_choice(section, "export_format", ("original", "png", "jpeg", "tiff", "bmp"), "original")
    if format_name == "bmp":
        section.note("export_format", "changed", "BMP isn't written; became PNG, which loses nothing either", "bmp")
        format_name = "png"
    images["format"] = format_name
    _quality(section, images)
    mode = read_choice(
        section,
        "output_directory_mode",
        ("save_to_single_folder", "maintain_directory_structure", "save_in_place"),
        "maintain_directory_structure",
    )
    layouts = {"save_to_single_folder": "flat", "save_in_place": "beside"}
    images["layout"] = layouts.get(mode, "mirror")
    if mode == "save_in_place":
        text = "inputs are never written over: a picture beside its source gets another name where one is there"
        section.note("output_directory_mode", "changed", text, mode)
    images["name"] = _name_pattern(section)
    images["on_conflict"] = read_choice(section, "conflict_resolution", ("rename", "overwrite", "skip"), "rename")
    if images["layout"] == "beside" and images["on_conflict"] == "overwrite":
        section.note("conflict_resolution", "changed", "became rename: files beside the sources stay", "overwrite")
        images["on_conflict"] = "rename"
    return images, read_directory(section, "output_directory")


def _quality(section: Reading, images: dict[str, Any]) -> None:
    if "jpeg_quality" in section.raw:
        value = section.raw["jpeg_quality"]
        if images["format"] not in ("jpeg", "original"):
            section.note("jpeg_quality", "left", "no JPEG is written", value)
        elif isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 100:
            images["quality"] = max(value, 1)
            if value == 0:
                section.note("jpeg_quality", "changed", "became 1, the lowest quality", value)
        else:
            section.note("jpeg_quality", "left", "not a whole number in 0 to 100", value)
    if "png_compression" in section.raw:
        value = section.raw["png_compression"]
        if images["format"] != "png":
            section.note("png_compression", "left", "the format isn't PNG throughout; it decides no pixel", value)
        elif isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 9:
            images["compression"] = value
        else:
            section.note("png_compression", "left", "not a whole number in 0 to 9", value)


def _name_pattern(section: Reading) -> str:
    raw = section.raw
    kinds = ("original", "prefix", "suffix", "index", "prefix_index", "custom")
    kind = read_choice(section, "naming_pattern", kinds, "original")
    digits = read_count(section, "index_digits", 4, 1, 20)
    index = f"{{index:0{digits}d}}"
    used = {
        "original": [],
        "prefix": ["prefix"],
        "suffix": ["suffix"],
        "index": ["index_digits"],
        "prefix_index": ["prefix", "index_digits"],
        "custom": ["custom_pattern", "index_digits"],
    }[kind]
    for key in ("prefix", "suffix", "custom_pattern", "index_digits", "start_index"):
        if key in raw and key not in used and not (key == "start_index" and "index_digits" in used):
            section.note(key, "left", f"naming_pattern {kind} doesn't use it", raw[key])
    prefix, suffix = (_literal(section, key) if key in used else "" for key in ("prefix", "suffix"))
    pattern = {
        "original": "{stem}",
        "prefix": f"{prefix}{{stem}}",
        "suffix": f"{{stem}}{suffix}",
        "index": index,
        "prefix_index": f"{prefix}{index}",
        "custom": _custom(section, index) if kind == "custom" else "",
    }[kind]
    if "{index" in pattern and raw.get("start_index", 1) != 0:
        text = "{index} begins with 0 and follows the sorted inputs"
        section.note("start_index", "changed", text, raw.get("start_index"))
    try:
        NamePattern.parse(pattern)
    except ValueError as error:
        section.note("naming_pattern", "changed", f"became {{stem}}: {error}", [kind, pattern])
        return "{stem}"
    return pattern


def _literal(section: Reading, key: str) -> str:
    """Text that stands in a name pattern for itself."""
    value = section.raw.get(key, "")
    if not isinstance(value, str):
        section.note(key, "left", "not a text", value)
        return ""
    return _harmless(section, key, value, value)


def _harmless(section: Reading, key: str, text: str, value: Any) -> str:
    safe = _FORBIDDEN.sub("_", text).replace("..", "__").replace("/", "_")
    safe = safe.encode("utf-8", "replace").decode()
    if safe != text:
        section.note(key, "changed", "what file systems forbid became _", value)
    return safe.replace("{", "{{").replace("}", "}}")


def _custom(section: Reading, index: str) -> str:
    value = section.raw.get("custom_pattern", "{filename}")
    if not isinstance(value, str):
        section.note("custom_pattern", "left", "not a text", value)
        return "{stem}"
    fields = {"{filename}": "{stem}", "{index}": index}
    parts = re.split(r"(\{filename\}|\{index\})", value)
    literal = "".join(part for part in parts if part not in fields)
    if re.search(r"[{}]", literal):
        section.note("custom_pattern", "changed", "fields other than {filename} and {index} stay as they are", value)
    pattern = "".join(fields.get(part) or _harmless(section, "custom_pattern", part, value) for part in parts)
    if not set(parts) & set(fields):
        section.note("custom_pattern", "changed", "it gives all pictures one name, so {index} was added", value)
        pattern += f"_{index}"
    return pattern
