"""What an operation is, and the table of all of them by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.alpha_rules import AlphaRule
from pipelines.registry import Parameters, Registry, parameters_of

Image = NDArray[Any]
"""uint8, uint16 or float32 (nominal range 0..1); shape (M, N), (M, N, 3) RGB or (M, N, 4) RGBA with straight alpha."""

Shares = NDArray[np.float32]
"""How much of each pixel is there, shape (M, N): alpha from 0, invisible, to 1, opaque."""

Reach = Literal["point", "local", "whole", "geometry"]
Table = Callable[..., NDArray[Any]]
Scale = tuple[float, float]
"""Rows and columns of the file's pixels that one pixel stands for."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: a pure function and what the chain must know to run, fuse and tile it."""

    name: str
    """The name in a job file."""
    group: str
    """tone, colour, filters, geometry or plug-ins."""
    function: Callable[..., Image]
    """``function(image, **params) -> image``; gets colour channels only, unless it ``handles_alpha``."""
    parameters: type[Parameters]
    """The validated model of its keyword arguments."""
    reach: Reach
    """``point``: a pixel depends on itself alone; ``local``: on its surroundings, up to ``halo``;
    ``whole``: on the whole image; ``geometry``: the shape or the place of pixels changes."""
    halo: Callable[..., int] | None = None
    """For ``local``: parameters -> pixels of surroundings that a tile needs."""
    table: Table | None = None
    """For ``point`` operations that act on each sample alone: (dtype, **params) -> lookup table of 256 or 65,536
    entries of that dtype, shape (levels,) or (levels, 3). The chain composes neighbouring tables into one look-up."""
    handles_alpha: bool = False
    """Gets RGBA as it is (geometry); else the chain takes alpha off before and puts it back after."""
    alpha: AlphaRule = AlphaRule.OWN
    """What transparent pixels count."""
    takes_shares: bool = False
    """Called as ``function(colours, shares, **params)`` where pixels aren't opaque; it gives colours."""
    scale: Callable[..., Scale | None] | None = None
    """For ``geometry``: (scale before, (rows, columns) before, **params) -> scale after; None if it can't be said.
    Without it nothing is known, and what an analysis measures can't be given in other units than pixels."""
    version: int | str = 1
    """Raised whenever the resulting pixels change; part of every cache key. Of a plug-in: its package's version."""
    requires: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Units that an image holds while it is rendered: ``gpu``, or what nodes or a provider have."""

    @property
    def summary(self) -> str:
        """The first line of the function's docstring; empty where Python was told to leave docstrings out."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]


OPERATIONS: Registry[Operation] = Registry("operation")


def operation(
    group: str,
    *,
    reach: Reach,
    halo: Callable[..., int] | None = None,
    table: Table | None = None,
    handles_alpha: bool = False,
    alpha: AlphaRule = AlphaRule.APART,
    scale: Callable[..., Scale | None] | None = None,
    version: int = 1,
) -> Callable[[Callable[..., Image]], Callable[..., Image]]:
    """Register a function as an operation under its own name; the function itself stays as it is.

    Where pixels count by ``alpha``, the function's second argument are the ``Shares`` of the pixels, None when all are
    opaque.
    """

    def decorate(function: Callable[..., Image]) -> Callable[..., Image]:
        OPERATIONS.register(
            function.__name__,
            Operation(
                name=function.__name__,
                group=group,
                function=function,
                parameters=parameters_of(function),
                reach=reach,
                halo=halo,
                table=table,
                handles_alpha=handles_alpha,
                alpha=alpha,
                takes_shares=alpha in (AlphaRule.VISIBLE, AlphaRule.WEIGHED),
                scale=scale,
                version=version,
            ),
        )
        return function

    return decorate


def levels(dtype: np.dtype[Any]) -> int:
    """Number of sample values of an integer image: 256 or 65,536."""
    return int(np.iinfo(dtype).max) + 1
