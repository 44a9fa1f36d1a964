"""Operations whose parameters come from columns of the inputs: ``crop: {x: {column: x0}}``.

A job's chain has such references; each input has a value for each of them, in the order of the chain and of the
parameters' names. Nothing here checks a value: an operation's own parameters do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.models import ImageOperation

COLUMN = "column"


@dataclass(frozen=True, slots=True)
class Slot:
    """A parameter that a column fills."""

    step: int
    """Which operation of the chain, from 0."""
    operation: str
    parameter: str
    column: str

    @property
    def where(self) -> str:
        """For messages, as a job file has it."""
        return f"operations[{self.step}].{self.operation}.{self.parameter}"


def column_of(value: Any) -> str | None:
    """The column that a parameter refers to; None when it is a value."""
    if isinstance(value, Mapping) and len(value) == 1 and isinstance(name := value.get(COLUMN), str):
        return name
    return None


def slots_of(operations: Sequence[ImageOperation]) -> tuple[Slot, ...]:
    """What columns fill in a chain, in order."""
    return tuple(
        Slot(step, operation.name, parameter, column)
        for step, operation in enumerate(operations)
        for parameter in sorted(operation.params)
        if (column := column_of(operation.params[parameter])) is not None
    )


def with_values(operations: Sequence[ImageOperation], values: Sequence[Any]) -> tuple[ImageOperation, ...]:
    """The chain of one input: ``values`` stand in the order of ``slots_of``, and there may be more."""
    filled: dict[int, dict[str, Any]] = {}
    for slot, value in zip(slots_of(operations), values, strict=False):
        filled.setdefault(slot.step, dict(operations[slot.step].params))[slot.parameter] = value
    return tuple(
        ImageOperation(operation.name, filled[step]) if step in filled else operation
        for step, operation in enumerate(operations)
    )
