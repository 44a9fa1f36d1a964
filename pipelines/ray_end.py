"""The end of Ray in this process, under a thread that waits for it.

Ray 2.60 tells whoever waits in ``ray.get``, ``ray.wait`` or a stream that the connection is being closed by raising
SystemExit. In a worker that is right, whose process ends with it. In a driver the process goes on: a thread that waits
would end in the middle of what it does, past its ladder of errors. Every thread of ours that waits for Ray waits within
``ray_may_end``.

And who lets go of a reference or a stream while Ray's library is being taken down asks something of it: it ends the
whole process then, at once. So what the thread waited for is held until the library is gone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from pipelines.errors import RayjobsError

TAKEN_DOWN_S = 10.0
"""How long a thread waits at most for Ray's library to be taken down."""


class RayEndedError(RayjobsError):
    """The connection to Ray was closed by another thread of this process."""


@contextmanager
def ray_may_end() -> Iterator[None]:
    """Raise ``RayEndedError`` instead of whatever waiting for Ray, or asking it, comes to at its end.

    While this process is connected all is as it was: SystemExit is somebody's own then, such as the main thread's on
    SIGTERM. Ray takes note that it isn't connected any more before it tells those who wait, and what is asked of it
    from then on meets a library that is half taken down.
    """
    try:
        yield
    except (SystemExit, Exception) as error:
        if ray.is_initialized():
            raise
        library, until = _library(), time.monotonic() + TAKEN_DOWN_S
        while library is not None and _library() == library and time.monotonic() < until:
            time.sleep(0.01)  # the error's traceback holds what it waited for
        raise RayEndedError("Ray has ended in this process") from error


def _library() -> int | None:
    """Which of Ray's library's connections is there; None: none, and whatever is let go of then asks nothing of it."""
    library = getattr(ray._private.worker.global_worker, "core_worker", None)
    return None if library is None else id(library)
