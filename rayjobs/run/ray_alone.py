"""What a cluster that serves one driver does without: processes for those who watch it, enlarge it or read its logs.

``ray.init`` starts four of Python's for them, as it does where nobody is. Each takes half a second of a CPU or more to
begin, just when workers want to; the dashboard is waited for even where it shows nothing, so is the agent that tells
it of this node (which then looks at everything every few seconds), and the autoscaler when all ends, since it doesn't
hear that it shall. No option of Ray's leaves them out, so this takes the place of what starts them. A cluster with a
dashboard, and one that is joined, have them all; one of a program's own session has the agent.
"""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from ray._private import parameter, services
from ray._raylet import (  # type: ignore[attr-defined]  # its stubs don't have them
    DASHBOARD_AGENT_LISTEN_PORT_NAME,
    METRICS_AGENT_PORT_NAME,
    METRICS_EXPORT_PORT_NAME,
    persist_port,
)

AGENT = "--dashboard_agent_command="
STAND_IN = "cat"
"""The raylet wants a process as its agent, and ends with it. This one reads a pipe that closes when the raylet ends."""
PORTS_OF_AGENT = (DASHBOARD_AGENT_LISTEN_PORT_NAME, METRICS_AGENT_PORT_NAME, METRICS_EXPORT_PORT_NAME)
NO_SERVICE = -1
"""What the agent itself says for a port where Ray is installed without a dashboard."""


@contextmanager
def starting_alone(meanwhile: Callable[[], object] | None, *, agent: bool) -> Iterator[None]:
    """Let ``ray.init`` start the control service, the raylet and what makes environments for workers, and nothing else.

    Parameters
    ----------
    agent
        Whether the agent is started as well, at which Ray's metrics can be read.
    meanwhile
        Called while the raylet starts, which takes longer than importing what a job needs. What it raises is passed
        over: whoever needs it will import it again.
    """
    of_ray = parameter.RayParams, services.start_api_server, services.start_raylet, services.start_ray_process

    def start_raylet(*given: Any, **named: Any) -> Any:
        of_raylet = inspect.signature(of_ray[2]).bind(*given, **named).arguments
        for port in () if agent else PORTS_OF_AGENT:
            persist_port(of_raylet["session_dir"], of_raylet["node_id"], port, NO_SERVICE)
        started = of_ray[2](*given, **named)
        if meanwhile is not None:
            with suppress(Exception):
                meanwhile()
        return started

    parameter.RayParams = partial(of_ray[0], no_monitor=True, include_log_monitor=False)
    services.start_api_server = lambda *_, **__: ("", None)
    services.start_raylet = start_raylet
    if not agent:
        services.start_ray_process = lambda command, *given, **named: of_ray[3](
            _without_agent(command), *given, **named
        )
    try:
        yield
    finally:
        parameter.RayParams, services.start_api_server, services.start_raylet, services.start_ray_process = of_ray


def _without_agent(command: Sequence[str]) -> list[str]:
    """A command line, of the raylet or another of Ray's processes, with the stand-in for the dashboard's agent."""
    stand_in = shutil.which(STAND_IN)
    return [f"{AGENT}{stand_in}" if word.startswith(AGENT) and stand_in else word for word in command]
