"""A run's work within its connection to Ray, and the order in which what it needs of Ray is imported.

Nothing of Ray before it is called: a job with nothing left to do never waits for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rayjobs.job.stage_needs import chosen_stages, takes_ray_data
from rayjobs.run.run_end import RunEnd

if TYPE_CHECKING:
    from actors.coordinator.resource_manager import ResourceManager
    from rayjobs.job.job_spec import JobSpec


def connect_and_run(resources: ResourceManager | None, spec: JobSpec, *what: Any) -> RunEnd:
    """What ``ray_run.run_on_ray`` does, and is called with after ``resources``; connects first."""
    from rayjobs.run.ray_session import ray_session

    output, ledger, _lock, wanted, *_ = what
    by_ray_data = takes_ray_data(chosen_stages(spec), ledger.counts().open)

    def to_import() -> None:
        import rayjobs.run.ray_run

        if by_ray_data:
            import rayjobs.run.ray_data_alone  # noqa: F401

    with ray_session(name=spec.name, workers=spec.limits.cpus, meanwhile=to_import) as cluster:
        from rayjobs.run.ray_warm_up import warm_up

        warm_up(cluster, spec, output.root, ledger, wanted, by_ray_data=by_ray_data)
        to_import()
        from rayjobs.run.ray_run import run_on_ray

        return run_on_ray(spec, *what, resources=resources)
