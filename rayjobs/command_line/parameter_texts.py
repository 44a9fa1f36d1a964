"""Which values a parameter takes, in words, from its JSON Schema: for the reference pages and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]


def values_of(schema: Schema, definitions: Schema) -> str:
    """Which values a parameter takes: choices, or a type with its range."""
    if "$ref" in schema:
        return f"see [{(name := schema['$ref'].rsplit('/', 1)[-1])}](#{name.lower()})"
    if choice := schema.get("anyOf") or schema.get("oneOf"):
        options = [values_of(option, definitions) for option in choice if option.get("type") != "null"]
        return " or ".join(dict.fromkeys(options))
    choices = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    if choices:
        return ", ".join(f"`{value}`" for value in choices)
    match schema.get("type"):
        case "array":
            text = _array(schema, definitions)
        case "object":
            text = f"name: {values_of(schema['additionalProperties'], definitions)}"
        case "integer" | "number" as kind:
            text = _range("whole number" if kind == "integer" else "number", schema)
        case "boolean":
            text = "`true`, `false`"
        case _:
            text = schema.get("format", "text")
    return text


def _range(kind: str, schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    first = f"above {above:,}" if above is not None else f"{low:,}" if low is not None else ""
    last = f"below {below:,}" if below is not None else f"{high:,}" if high is not None else ""
    if first and last:
        return f"{kind}, {first} to {last}"
    if first:
        return f"{kind}, {first}" if above is not None else f"{kind}, {first} or more"
    return f"{kind}, up to {last}" if last else kind


def _array(schema: Schema, definitions: Schema) -> str:
    items = schema.get("prefixItems")
    if items:
        inner = values_of(items[0], definitions)
        return f"list of {len(items)}: {inner}"
    inner = values_of(schema.get("items", {}), definitions)
    low, high = schema.get("minItems"), schema.get("maxItems")
    if high:
        return f"list of {low or 0} to {high}: {inner}"
    return f"list of {low} or more: {inner}" if low else f"list: {inner}"
