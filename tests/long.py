"""Tests that take minutes: `make test-machine` runs them, with those of their modules that CI runs."""

from __future__ import annotations

import os

import pytest

LONG = pytest.mark.skipif("RAYJOBS_LONG_TESTS" not in os.environ, reason="takes minutes; see `make test-machine`")
