"""What a command tells the shell."""

from __future__ import annotations

EXIT_OK = 0
"""All done, or no more inputs failed than may."""
EXIT_PROBLEM = 1
"""The job could not run."""
EXIT_FAILURES = 2
"""It ended, but more inputs failed; or an output isn't as it was published."""
EXIT_INTERRUPTED = 130
"""Cancelled or interrupted."""
