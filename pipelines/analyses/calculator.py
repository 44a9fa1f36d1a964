"""Several analyses of one image: checks what is asked for, shares walks over the pixels, and names what failed.

Covers names and groups of analyses, parameters and errors. Does not store results; the analyses know nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pipelines.analyses.registry import ANALYSES, Accumulator, Analysis, Result
from pipelines.analyses.scope_counts import SCOPES, JointScopes, count_scopes
from pipelines.errors import FailedReason, ImageError, RayjobsError, is_out_of_memory
from pipelines.models import AnalysisRequest
from pipelines.operations.chain import check_image, complaints, native
from pipelines.operations.image_geometry import AS_STORED, ImageGeometry

GROUPS = ("scopes", "all")
"""Words that stand for several analyses: the six scopes, and every analysis there is."""
NO_PARAMETERS = "stands for several analyses: give parameters to each by its own name"

Asked = AnalysisRequest | str | Mapping[str, Any]
"""As in a job file: a name, or one name with its parameters."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One analysis with its checked parameters."""

    analysis: Analysis
    arguments: Mapping[str, Any]
    """Every parameter of the analysis, defaults included."""


def expand_analyses(asked: Iterable[Asked]) -> list[AnalysisRequest]:
    """Names, requests and the words ``scopes`` and ``all`` as requests: in order, each once.

    A word stands for the analyses of its group that aren't asked for by name, so that
    ``[{luma_waveform: {luma: bt601}}, scopes]`` gives six scopes. Requests that agree after filling in the defaults are
    the same.

    Raises
    ------
    RayjobsError
        Unknown names (with the nearest ones), wrong parameters, or some for a word.
    """
    listed = [AnalysisRequest.of(entry) for entry in ([asked] if isinstance(asked, str | Mapping) else asked)]
    named = {entry.name for entry in listed}
    found: list[AnalysisRequest] = []
    seen: list[tuple[str, Mapping[str, Any]]] = []
    for entry in listed:
        requests = [entry]
        if entry.name in GROUPS and entry.name not in ANALYSES:
            if entry.params:
                raise RayjobsError(f"{entry.name} {NO_PARAMETERS}")
            scopes_first = sorted(ANALYSES.items(), key=lambda pair: pair[1].group != "scopes")
            members = [name for name, one in scopes_first if entry.name in ("all", one.group)]
            requests = [AnalysisRequest(name) for name in members if name not in named]
        for request in requests:
            key = (request.name, _step(request).arguments)
            if key not in seen:
                seen.append(key)
                found.append(request)
    return found


def with_defaults(request: AnalysisRequest) -> AnalysisRequest:
    """A request that says every parameter, as plain values."""
    return replace(request, params=ANALYSES[request.name].parameters(**request.params).model_dump(mode="json"))


class AnalysisCalculator:
    """Computes chosen analyses of images; keeps nothing between two images and may be used from several threads."""

    def __init__(self, requests: Iterable[Asked] = ()) -> None:
        """Check the analyses that ``calculate_analyses`` computes unless it is given others.

        Raises
        ------
        RayjobsError
            As ``expand_analyses``; or an analysis is asked for twice with different parameters.
        """
        self._steps = _steps(requests)

    def calculate_analyses(
        self, image: NDArray[Any], analyses: Iterable[Asked] | None = None, *, geometry: ImageGeometry = AS_STORED
    ) -> dict[str, Result]:
        """The analyses of one image: name -> columns, in the order they were asked for.

        Parameters
        ----------
        image : ndarray
            uint8, uint16 or float32, in either byte order; shape (M, N), (M, N, 3) or (M, N, 4); never changed.
        analyses : iterable of AnalysisRequest or str, optional
            Instead of those given to the constructor; a name, or ``scopes`` or ``all``, stands for defaults.
        geometry : ImageGeometry
            How the pixels lie in the picture of their file.

        Raises
        ------
        ImageError
            ``analysis_error`` with the name of the analysis; ``out_of_memory``; ``bad_shape`` for an array that is no
            image; or the reason that an analysis gives itself.
        """
        steps = self._steps if analyses is None else _steps(analyses)
        image = native(image)
        check_image(image)
        together = [(step.analysis.name, step.arguments) for step in steps if step.analysis.name in SCOPES]
        results = _guarded("scopes", lambda: count_scopes(image, together))
        for step in steps:
            name = step.analysis.name
            if name not in SCOPES:
                seen = (image, geometry) if step.analysis.sees_geometry else (image,)
                results[name] = _guarded(name, partial(step.analysis.function, *seen, **step.arguments))
        return {step.analysis.name: results[step.analysis.name] for step in steps}

    def whole_image_analyses(self) -> list[str]:
        """Those of the constructor's analyses that can't be computed band by band."""
        return [step.analysis.name for step in self._steps if step.analysis.accumulator is None]

    def begin(self, *, height: int, width: int, dtype: Any, channels: int) -> TiledAnalyses:
        """The constructor's analyses of an image that comes in bands from top to bottom; each of them must be able to.

        Raises
        ------
        ImageError
            As ``calculate_analyses``.
        """
        return TiledAnalyses(self._steps, height=height, width=width, dtype=dtype, channels=channels)


class TiledAnalyses:
    """Analyses of one image, band by band; the results are those of ``calculate_analyses``."""

    def __init__(self, steps: tuple[Step, ...], *, height: int, width: int, dtype: Any, channels: int) -> None:
        self._names = [step.analysis.name for step in steps]
        together = [(step.analysis.name, step.arguments) for step in steps if step.analysis.name in SCOPES]
        self._scopes = JointScopes(together, width=width)
        self._others: dict[str, Accumulator] = {}
        for step in steps:
            if step.analysis.name not in SCOPES:
                assert step.analysis.accumulator is not None
                make = partial(step.analysis.accumulator, height=height, width=width, dtype=dtype, channels=channels)
                self._others[step.analysis.name] = _guarded(step.analysis.name, partial(make, **step.arguments))

    def update(self, tile: NDArray[Any], *, row: int, column: int) -> None:
        """Count one tile whose top left pixel lies at (row, column); see ``Accumulator`` for what may come when.

        Raises
        ------
        ImageError
            As ``calculate_analyses``.
        """
        _guarded("scopes", partial(self._scopes.update, tile, row=row, column=column))
        for name, accumulator in self._others.items():
            _guarded(name, partial(accumulator.update, tile, row=row, column=column))

    def results(self) -> dict[str, Result]:
        """Name -> columns, in the order the analyses were asked for. Raises ImageError as ``calculate_analyses``."""
        results = _guarded("scopes", self._scopes.results)
        for name, accumulator in self._others.items():
            results[name] = _guarded(name, accumulator.result)
        return {name: results[name] for name in self._names}


def _steps(asked: Iterable[Asked]) -> tuple[Step, ...]:
    steps = tuple(_step(request) for request in expand_analyses(asked))
    names = [step.analysis.name for step in steps]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise RayjobsError(f"{', '.join(twice)}: asked for twice, with different parameters")
    return steps


def _step(request: AnalysisRequest) -> Step:
    analysis = ANALYSES[request.name]
    try:
        checked = analysis.parameters(**request.params)
    except ValidationError as error:
        raise RayjobsError(f"analysis {request.name}: {complaints(error)}") from error
    return Step(analysis, {name: getattr(checked, name) for name in analysis.parameters.model_fields})


def _guarded(name: str, compute: Callable[[], T]) -> T:
    try:
        with np.errstate(invalid="ignore", over="ignore"):  # what isn't finite isn't counted
            return compute()
    except ImageError as error:
        raise ImageError(error.reason, f"{name}: {error}") from error
    except Exception as error:  # whatever an analysis raises, plug-ins included, is this image's failure alone
        reason = FailedReason.OUT_OF_MEMORY if is_out_of_memory(error) else FailedReason.ANALYSIS_ERROR
        text = str(error) if isinstance(error, RayjobsError) else f"{type(error).__name__}: {error}"
        raise ImageError(reason, f"{name}: {text}") from error
