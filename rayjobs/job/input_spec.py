"""The parts of a job file that say what columns inputs have: a table of inputs, and a pattern over their paths."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from pipelines.column_models import MAX_COLUMNS, ColumnType, check_column_name

MAX_PATTERN = 1_000

ColumnName = Annotated[str, AfterValidator(check_column_name)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class InputTable(_Section):
    """A table with a row per image."""

    table: str = Field(
        min_length=1,
        max_length=4096,
        description="The file: `.csv`, `.tsv`, `.parquet`, `.arrow` (`.feather`, `.ipc`), `.jsonl` (`.ndjson`)",
    )
    path: str = Field(min_length=1, max_length=1000, description="Column with the path of each image")
    base: str | None = Field(
        None,
        min_length=1,
        max_length=4096,
        description="What the paths are relative to, and lie below; else the table's directory",
    )
    columns: list[ColumnName] = Field(
        [],
        max_length=MAX_COLUMNS,
        description="Columns that stand in the results; those that operations or names use do, too",
    )
    types: dict[str, ColumnType] = Field(
        {}, max_length=MAX_COLUMNS, description="Column -> type; else as the file has it, or as the texts of CSV show"
    )
    nulls: Literal["refuse", "keep"] = Field("refuse", description="What a cell without a value is: a mistake, or null")

    @model_validator(mode="after")
    def _columns_once(self) -> InputTable:
        twice = [name for place, name in enumerate(self.columns) if name in self.columns[:place]]
        if twice or self.path in self.columns:
            raise ValueError(f"columns: {(twice or [self.path])[0]!r} is named twice")
        return self


class NameGroups(_Section):
    """Columns from the paths of inputs."""

    pattern: str = Field(
        min_length=1,
        max_length=MAX_PATTERN,
        description="RE2 syntax, searched for in the readable path: each group `(?P<name>...)` is a column",
    )
    types: dict[str, ColumnType] = Field({}, max_length=MAX_COLUMNS, description="Group -> type; text without")

    @field_validator("pattern")
    @classmethod
    def _is_re2(cls, value: str) -> str:
        names = _groups_of(value)
        if not names:
            raise ValueError("has no group: each column is one, such as (?P<plate>[0-9]+)")
        if len(names) > MAX_COLUMNS:
            raise ValueError(f"has {len(names)} groups, and at most {MAX_COLUMNS} are columns")
        for name in names:
            check_column_name(name)
        return value

    @model_validator(mode="after")
    def _types_of_groups(self) -> NameGroups:
        for name in self.types:
            if name not in self.names:
                raise ValueError(f"types: the pattern has no group {name!r}; it has {', '.join(self.names)}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The groups, in order."""
        return _groups_of(self.pattern)


@lru_cache(maxsize=16)
def _groups_of(pattern: str) -> tuple[str, ...]:
    """The groups of a pattern, as RE2 sees them; a ValueError says what is wrong with it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return tuple(field.name for field in pc.extract_regex(pa.nulls(0, pa.string()), pattern=pattern).type)
    except pa.ArrowInvalid as error:
        raise ValueError(_said_by_re2(str(error))) from error


def _said_by_re2(text: str) -> str:
    if "unnamed groups" in text:
        return "has a group without a name: write (?P<name>...), or (?:...) for one that is no column"
    return f"{text[:1].lower()}{text[1:]} (RE2 syntax: no back references, no look-around)"
