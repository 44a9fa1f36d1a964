"""What a cluster that serves one driver does without: processes for those who watch it, enlarge it or read its logs.

``ray.init`` starts three of Python's for them, as it does where nobody is. Each takes half a second of a CPU or more to
begin, just when workers want to; the dashboard is waited for even where it shows nothing, and the autoscaler when all
ends, since it doesn't hear that it shall. No option of Ray's leaves them out, so this takes the place of what starts
them. A cluster with a dashboard, and one that is joined, have them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from ray._private import parameter, services


@contextmanager
def starting_alone(meanwhile: Callable[[], object] | None) -> Iterator[None]:
    """Let ``ray.init`` start the control service, the raylet and what makes environments for workers, and nothing else.

    Parameters
    ----------
    meanwhile
        Called while the raylet starts, which takes longer than importing what a job needs. What it raises is passed
        over: whoever needs it will import it again.
    """
    of_ray = parameter.RayParams, services.start_api_server, services.start_raylet

    def start_raylet(*given: Any, **named: Any) -> Any:
        started = of_ray[2](*given, **named)
        if meanwhile is not None:
            with suppress(Exception):
                meanwhile()
        return started

    parameter.RayParams = partial(of_ray[0], no_monitor=True, include_log_monitor=False)
    services.start_api_server = lambda *_, **__: ("", None)
    services.start_raylet = start_raylet
    try:
        yield
    finally:
        parameter.RayParams, services.start_api_server, services.start_raylet = of_ray
