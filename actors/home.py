"""Where things that outlive a job and an output directory lie: the list of jobs, the clusters' ledgers, caches."""

from __future__ import annotations

import os
from pathlib import Path


def rayjobs_home() -> Path:
    """``$RAYJOBS_HOME``, or ``~/.rayjobs``."""
    return Path(os.environ.get("RAYJOBS_HOME") or Path.home() / ".rayjobs")
