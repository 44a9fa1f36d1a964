"""What Ray alone takes: import, start, a task per CPU, shutdown. ``python -m benchmarks.bare_ray_script CPUS``."""

from __future__ import annotations

import os
import sys

os.environ["RAY_AUTH_MODE"] = "disabled"

import ray


@ray.remote(num_cpus=1)  # type: ignore[untyped-decorator]
def number() -> int:
    """Nothing, in a process of its own."""
    return os.getpid()


def main(cpus: int) -> None:
    """Start, run, and end it."""
    ray.init(num_cpus=cpus, include_dashboard=False, log_to_driver=False)
    ray.get([number.remote() for _ in range(cpus)])
    ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
