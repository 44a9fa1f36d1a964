"""For all tests on a cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.leaks import nothing_left_behind


@pytest.fixture(scope="module", autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """After the last test of a module, and the end of its fixtures, nothing of it runs any more."""
    with nothing_left_behind():
        yield
