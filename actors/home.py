"""Where things that outlive a job and an output directory lie: the list of jobs, the clusters' ledgers, caches."""

from __future__ import annotations

import os
from pathlib import Path

from pipelines.errors import JobError


def rayjobs_home() -> Path:
    """``$RAYJOBS_HOME``, or ``~/.rayjobs``.

    Raises
    ------
    JobError
        Nobody says where: no RAYJOBS_HOME, no HOME, and this user has no account entry.
    """
    home = os.environ.get("RAYJOBS_HOME") or os.path.expanduser("~/.rayjobs")
    if home.startswith("~"):
        raise JobError(f"no home directory is known of user {os.getuid()}; set RAYJOBS_HOME to a directory of yours")
    return Path(home)
