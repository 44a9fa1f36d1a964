"""Files of several images in the tables: one row per frame, kept as if frames were objects that an analysis found.

Covers the table ``frames`` (all columns of the table of images, per frame) and one ``frames_<analysis>`` for each
analysis of objects. Analyses themselves know nothing of frames: ``image_task`` measures one frame at a time with them.
Being results of an analysis by name, the rows are saved, sealed, reused and written like those of objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from pipelines.analyses.registry import ANALYSES, ROWS, Analysis, Column, Result, of_analysis
from pipelines.models import AnalysisRequest
from pipelines.registry import Parameters

FRAMES = "frames"
OBJECTS_PREFIX = "frames_"
"""Of the tables with the objects of frames."""
_FRAME = Column("frame", "uint32", "1", "Place of the image in its file, from 1.")
COUNT = "count"
_COUNT = Column(
    COUNT,
    "uint32",
    "1",
    "Images in the file; those of files with several are rows of the table frames.",
    "Images in the file",
)
_OF = "of"
"""Parameter: what is measured of each frame, as [name, parameters] each."""


class _FrameParameters(Parameters):
    of: list[tuple[str, dict[str, Any]]]


def frame_requests(requests: Sequence[AnalysisRequest]) -> tuple[AnalysisRequest, ...]:
    """What a job that reads all frames asks for besides its analyses; nothing when it measures nothing."""
    if not requests:
        return ()
    objects = [request for request in requests if ANALYSES[request.name].row_columns is not None]
    return (
        AnalysisRequest(FRAMES, {_OF: [_pair(request) for request in requests]}),
        *(AnalysisRequest(OBJECTS_PREFIX + request.name, {_OF: [_pair(request)]}) for request in objects),
    )


def is_of_frames(request: AnalysisRequest) -> bool:
    """Whether a request is one of ``frame_requests``."""
    return _OF in request.params and request.name not in ANALYSES


def measured(requests: Sequence[AnalysisRequest]) -> tuple[AnalysisRequest, ...]:
    """The analyses that each frame of a file needs: those asked for, and those whose rows are."""
    found = {request: None for request in requests if not is_of_frames(request)}
    for request in filter(is_of_frames, requests):
        found |= dict.fromkeys(_measured(request.params[_OF]))
    return tuple(found)


def frame_results(request: AnalysisRequest, frames: Sequence[Mapping[str, Result]]) -> Result:
    """The result of one of ``frame_requests`` for a file; ``frames`` are the results of each of its images, in order.

    A file of one image has no rows, because it has its row in the table of images.
    """
    wanted = _measured(request.params[_OF])
    shown = frames if len(frames) > 1 else ()
    if request.name != FRAMES:
        return {ROWS: _object_rows(wanted[0], shown)}
    rows: dict[str, list[Any]] = {_FRAME.name: list(range(1, len(shown) + 1))}
    for each in wanted:
        for column in ANALYSES[each.name].columns(**each.params):
            rows[f"{each.name}_{column.name}"] = [results[each.name].get(column.name) for results in shown]
    return {_COUNT.name: len(frames), ROWS: rows}


def _object_rows(request: AnalysisRequest, frames: Sequence[Mapping[str, Result]]) -> dict[str, list[Any]]:
    tables = [results[request.name][ROWS] for results in frames]
    columns = ANALYSES[request.name].row_columns
    assert columns is not None  # else it has no table of objects
    names = [column.name for column in columns(**request.params)]
    counts = [len(table[names[0]]) for table in tables]
    rows: dict[str, list[Any]] = {
        _FRAME.name: [number for number, count in enumerate(counts, start=1) for _ in range(count)]
    }
    return rows | {name: list(chain.from_iterable(table[name] for table in tables)) for name in names}


class _Tabled(Mapping[str, Analysis]):
    """By name, everything that has columns in the tables: the analyses, and frames. Plug-ins may come and go."""

    def __getitem__(self, name: str) -> Analysis:
        if name in ANALYSES:
            return ANALYSES[name]
        if name == FRAMES or name.removeprefix(OBJECTS_PREFIX) in ANALYSES:
            return _of_frames(name)
        return ANALYSES[name]  # which says what is near

    def __iter__(self) -> Iterator[str]:
        return iter(ANALYSES)

    def __len__(self) -> int:
        return len(ANALYSES)


TABLED: Mapping[str, Analysis] = _Tabled()


@lru_cache(maxsize=64)
def _of_frames(name: str) -> Analysis:
    def columns(*, of: Sequence[Sequence[Any]]) -> list[Column]:
        return [_COUNT] if name == FRAMES else []

    def row_columns(*, of: Sequence[Sequence[Any]]) -> list[Column]:
        found = [_FRAME]
        for each in _measured(of):
            entry = ANALYSES[each.name]
            if name == FRAMES:
                found += [of_analysis(column, each.name) for column in entry.columns(**each.params)]
            elif entry.row_columns is not None:
                found += entry.row_columns(**each.params)
        return found

    return Analysis(
        name=name,
        group="measurements",
        function=frame_results,
        parameters=_FrameParameters,
        columns=columns,
        row_columns=row_columns,
    )


def _pair(request: AnalysisRequest) -> list[Any]:
    return [request.name, dict(request.params)]


def _measured(of: Sequence[Sequence[Any]]) -> tuple[AnalysisRequest, ...]:
    return tuple(AnalysisRequest(name, params) for name, params in of)
