"""Tables as datasets of Ray Data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow.fs

from pipelines.errors import JobError
from rayjobs.run.ray_session import before_importing_ray


def ray_dataset(files: Sequence[str], columns: Sequence[str] | None) -> Any:
    """The rows of Parquet files, which the nodes of the cluster read when they are needed.

    Raises
    ------
    JobError
        This process isn't connected to Ray.
    """
    before_importing_ray()
    import ray

    if not ray.is_initialized():
        raise JobError(
            "Ray isn't connected: call this inside `with rayjobs.ray_session(name=...)`, or `ray.init()` first"
        )
    rows = ray.data.read_parquet(list(files), filesystem=pyarrow.fs.LocalFileSystem())
    return rows if columns is None else rows.select_columns(list(columns))
