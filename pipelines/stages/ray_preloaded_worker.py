"""What makes a worker ready for any job: Ray's workers import this by name before a job has them (``rayjobs up``).

It imports what the tasks of a stream need, and loads the libraries that are imported when they are first used. What a
job's own recipe needs beyond that comes with its rehearsal. Nothing may fail here: Ray would start the worker again.
"""

from __future__ import annotations

from contextlib import suppress

with suppress(Exception):
    from pipelines.kernel_cache import keep_kernels

    keep_kernels()
    import ray.data._internal.planner  # noqa: F401 - Ray Data imports it with its first task

    import pipelines.kernel_compiler  # noqa: F401 - before threads are limited, which numba's pool could never go beyond
    from pipelines.analyses import expand_analyses
    from pipelines.image_io import EncodeOptions, ReadPolicy
    from pipelines.models import ImageOperation
    from pipelines.stages import ray_stream  # noqa: F401 - all that the operators need
    from pipelines.stages.recipe import Recipe
    from pipelines.stages.rehearsal import rehearse

    rehearse(
        Recipe(
            id=0,
            operations=(
                ImageOperation("curves", {"points": [[0, 0], [0.5, 0.6], [1, 1]]}),
                ImageOperation("unsharp_mask", {}),
                ImageOperation("hue_saturation", {"saturation": 1.2}),
            ),
            analyses=tuple(expand_analyses(["scopes"])),
            read=ReadPolicy(),
            image=EncodeOptions(format="jpeg"),
            image_suffixes=(".jpg",),
        )
    )
