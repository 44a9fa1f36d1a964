"""The few kinds of error that the product knows, and the fixed list of reasons in the manifest.

Covers what may happen to a job or to one input; the policy (retry, degrade, give up) is decided elsewhere.
"""

from __future__ import annotations

import errno
from enum import StrEnum

CV_OUT_OF_MEMORY = -4
"""``cv2.Error.StsNoMem``."""


class FailedReason(StrEnum):
    """Why an input ended as ``failed``; the fixed list of the manifest's column ``reason``."""

    MISSING = "missing"
    CHANGED = "changed"
    PERMISSION = "permission"
    EMPTY = "empty"
    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED_FORMAT = "unsupported_format"
    CODEC_MISSING = "codec_missing"
    CORRUPT = "corrupt"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    BAD_SHAPE = "bad_shape"
    OPERATION_ERROR = "operation_error"
    ANALYSIS_ERROR = "analysis_error"
    CHART_ERROR = "chart_error"
    WRITE_ERROR = "write_error"
    NO_SPACE = "no_space"
    NAME_INVALID = "name_invalid"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    CRASHED = "crashed"
    PLUGIN_ERROR = "plugin_error"


class SkippedReason(StrEnum):
    """Why an input was left out by the job's own policy."""

    EXISTS = "exists"
    EXCLUDED = "excluded"
    NOT_REGULAR = "not_regular"
    SYMLINK = "symlink"
    DUPLICATE_INPUT = "duplicate_input"


class RayjobsError(Exception):
    """Base of every error that is meant for a person: its text says what, where and what to do."""


class JobError(RayjobsError):
    """The job as a whole can't run: bad job file, no access, output owned by another run."""


class ImageError(RayjobsError):
    """One input failed for a reason of the fixed list; the job goes on."""

    def __init__(self, reason: FailedReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[ImageError], tuple[FailedReason, str]]:
        return type(self), (self.reason, str(self))


def storable(text: str) -> str:
    """A text as files and databases can hold it: what stands for stray bytes of a file name is escaped."""
    return text.encode(errors="backslashreplace").decode()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was what failed: in Python, numpy, OpenCV or the system, or as one of ours says."""
    if isinstance(error, ImageError):
        return error.reason is FailedReason.OUT_OF_MEMORY
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    from_opencv = type(error).__module__ == "cv2" and getattr(error, "code", None) == CV_OUT_OF_MEMORY
    return isinstance(error, MemoryError) or from_opencv
