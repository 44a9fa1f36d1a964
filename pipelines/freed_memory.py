"""A worker keeps the memory that it frees, for its next image: fetching pages from the system again costs a tenth.

Image-sized arrays come and go with every operation. By default glibc gives such memory back at once, and the kernel
then clears and maps it anew. Only glibc has the switch; elsewhere nothing happens.
"""

from __future__ import annotations

import ctypes
from functools import cache

KEPT_BYTES = 256 << 20
"""What a worker may hold on to; larger arrays are still mapped and given back one by one."""
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST_MMAP_THRESHOLD = 32 << 20
"""glibc accepts no more."""


@cache
def keep_freed_memory() -> bool:
    """Tell the allocator, once per process; whether it has the switch."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    kept = mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD) and mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
    return bool(kept)
