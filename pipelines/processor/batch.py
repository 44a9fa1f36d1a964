"""The end of a batch: all results in order, or an error that has those of the images that didn't fail."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, wait

from pipelines.errors import RayjobsError
from pipelines.operations import Image


class BatchError(RayjobsError):
    """Some images of a batch failed; the results of the others are in ``results``."""

    def __init__(self, results: list[Image | None], errors: dict[int, Exception]) -> None:
        first = min(errors)
        text = f"{len(errors)} of {len(results)} images failed; image {first}: {errors[first]}"
        super().__init__(f"{text}; `results` of this error has the others" if len(errors) < len(results) else text)
        self.results = results
        """In the order of the batch; None where the image failed."""
        self.errors = errors
        """Position in the batch -> why it failed."""

    def __reduce__(self) -> tuple[type[BatchError], tuple[list[Image | None], dict[int, Exception]]]:
        return type(self), (self.results, self.errors)


def results_of(futures: Sequence[Future[Image]]) -> list[Image]:
    """Wait for all images of a batch.

    Raises
    ------
    BatchError
        An image failed, or was cancelled.
    """
    wait(futures)
    results: list[Image | None] = [None] * len(futures)
    errors: dict[int, Exception] = {}
    for i, future in enumerate(futures):
        # Asked for rather than caught: a caught error would hold this frame, and with it all results, in a cycle.
        error = CancelledError("cancelled") if future.cancelled() else future.exception()
        if error is None:
            results[i] = future.result()
        elif isinstance(error, Exception):
            errors[i] = error
        else:
            raise error
    if errors:
        raise BatchError(results, errors)
    return [result for result in results if result is not None]
