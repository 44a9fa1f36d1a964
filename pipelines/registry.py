"""Named things that a job file may ask for, and the parameters that each one takes.

Covers the registry used for operations, analyses, chart engines, resources and task types alike, and reading a
function's keyword arguments as a validated parameter model. Does not discover plug-ins: see ``extension_manager``.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, TypeVar, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationInfo, create_model, field_validator
from pydantic_core import PydanticCustomError

from pipelines.errors import RayjobsError

T = TypeVar("T")
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class UnknownNameError(RayjobsError, KeyError):
    """Nothing of that name is registered; the text offers the nearest names."""

    def __str__(self) -> str:
        return str(self.args[0])


class Registry(Generic[T], Mapping[str, T]):
    """A mapping from name to entry that refuses duplicates; registering returns the function that undoes it."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        """What the entries are, in the singular, for messages: ``operation``."""
        self._entries: dict[str, T] = {}
        self._lent: ContextVar[Mapping[str, T]] = ContextVar(kind, default=_NOTHING)
        self._absent: dict[str, str] = {}

    def register(self, name: str, entry: T) -> Callable[[], None]:
        """Add an entry; the returned function takes it out again."""
        if name in self._entries:
            raise RayjobsError(f"{self.kind} {name!r} is registered already")
        self._entries[name] = entry

        def undo() -> None:
            self._entries.pop(name, None)

        return undo

    @contextmanager
    def lent(self, entries: Mapping[str, T]) -> Iterator[None]:
        """Have further entries inside a ``with`` block, for this thread alone; they come before those of that name."""
        token = self._lent.set({**self._lent.get(), **entries})
        try:
            yield
        finally:
            self._lent.reset(token)

    def explain(self, name: str, text: str) -> Callable[[], None]:
        """Say in messages why a name is not there, such as a plug-in that can't be loaded; returns the undoing."""
        self._absent[name] = text

        def undo() -> None:
            self._absent.pop(name, None)

        return undo

    def is_explained(self, name: str) -> bool:
        """Whether a name is missing for a reason that is known."""
        return name in self._absent and name not in self

    def __getitem__(self, name: str) -> T:
        lent = self._lent.get()
        try:
            return lent[name] if name in lent else self._entries[name]
        except KeyError:
            raise UnknownNameError(f"unknown {self.kind} {name!r}{self.hint(name)}") from None

    def hint(self, name: str) -> str:
        """Why it isn't there, or ``"; did you mean 'gamma'?"``, or an empty text when nothing is near."""
        if name in self._absent:
            return f": {self._absent[name]}"
        return nearest(name, self)

    def __iter__(self) -> Iterator[str]:
        return iter({**self._entries, **self._lent.get()})

    def __len__(self) -> int:
        return len(self._entries.keys() | self._lent.get().keys())


def nearest(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'gamma'?"``, or an empty text when nothing is near."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


class Parameters(BaseModel):
    """Base of the models read from signatures: unknown names are refused, values are frozen."""

    # The validators of all operations would take every start of the command line 30 ms: they are built when used.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """``true`` and ``on`` aren't 1."""
        kinds = set(_kinds(cls.model_fields[str(info.field_name)].annotation))
        if not kinds.isdisjoint({int, float}) and bool not in kinds and _has_switch(value):
            raise PydanticCustomError("number_type", "Input should be a number")
        return value


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types that an annotation is made of."""
    inner = get_args(annotation)
    if not inner:
        yield annotation
    for each in inner:
        yield from _kinds(each)


def _has_switch(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, list | tuple) and any(map(_has_switch, value)))


@dataclass(frozen=True, slots=True)
class NamesFile:
    """In the ``Annotated`` of a text parameter: it is the path of a file.

    A job's relative path is relative to the job file, and what the file contains decides the result, not where it lies.
    """

    what: str = "file"
    """For messages: ``.cube file``."""
    check: Callable[[str], object] | None = None
    """Called with the path when a job is checked; raises RayjobsError for a file that is no use."""


def named_files(model: type[BaseModel]) -> dict[str, NamesFile]:
    """The parameters that declare to name a file."""
    return {
        name: mark
        for name, field in model.model_fields.items()
        for mark in field.metadata
        if isinstance(mark, NamesFile)
    }


def parameters_of(function: Callable[..., Any]) -> type[Parameters]:
    """Build the parameter model of a function from its keyword-only arguments.

    Each is annotated as ``Annotated[float, Field(ge=0, le=1, description="...")]``, so that range, default and meaning
    stand once, in the signature, and serve validation, the JSON schema and the reference page.
    """
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            fields[name] = (hints[name], default)
    title = str(getattr(function, "__name__", "function"))
    model: type[Parameters] = create_model(title, __base__=Parameters, **fields)
    return model
