"""Which Ray a run uses, as its environment says: a cluster's, that of the job it is, or one of its own."""

from __future__ import annotations

import os


def in_submitted_job() -> bool:
    """Whether this process is the driver of a job that Ray's Jobs API started."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def cluster_address() -> str | None:
    """The address of the cluster to use, or None for an embedded one."""
    return os.environ.get("RAY_ADDRESS") or None


def starts_embedded() -> bool:
    """Whether a session starts a cluster of its own on this machine."""
    return cluster_address() is None and not in_submitted_job()
