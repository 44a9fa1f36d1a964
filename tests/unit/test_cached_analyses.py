"""Analyses in front of the cache on disk: the same numbers, measured once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.disk_cache import DiskCache
from pipelines.analyses import ANALYSES, AnalysisCalculator
from pipelines.cached_analyses import CachedAnalyses
from pipelines.errors import ImageError, RayjobsError
from pipelines.models import AnalysisRequest
from tests.strategies import example_image


def assert_same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        if isinstance(value, Mapping):
            assert_same(found[name], value)
        else:
            np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("name", ANALYSES)
def test_every_analysis_comes_back_as_it_was_measured(tmp_path: Path, name: str) -> None:
    image = example_image("uint8", 3, (64, 80))
    measured = AnalysisCalculator([name]).calculate_analyses(image)
    cache = DiskCache(tmp_path)
    for _ in range(2):
        assert_same(CachedAnalyses(cache, [name]).calculate_analyses(image.copy()), measured)
    assert (cache.stats().hits, cache.stats().misses, cache.stats().refused) == (1, 1, 0)


def test_only_what_is_lacking_is_measured(tmp_path: Path) -> None:
    image = example_image("uint8", 3)
    cache = DiskCache(tmp_path)
    analyses = CachedAnalyses(cache, ["statistics"])
    analyses.calculate_analyses(image)
    both = analyses.calculate_analyses(image, ["sharpness", "statistics"])
    assert list(both) == ["sharpness", "statistics"]
    assert (cache.stats().hits, cache.stats().misses) == (1, 2)
    analyses.calculate_analyses(example_image("uint8", 3, seed=1))
    assert cache.stats().misses == 3


def test_parameters_are_part_of_the_key(tmp_path: Path) -> None:
    image = example_image("uint8", 3)
    analyses = CachedAnalyses(DiskCache(tmp_path))
    for luma in ("bt709", "bt601"):
        request = AnalysisRequest("luma_waveform", {"luma": luma})
        expected = AnalysisCalculator([request]).calculate_analyses(image)
        assert_same(analyses.calculate_analyses(image, [request]), expected)


def test_mistakes_are_those_of_the_calculator(tmp_path: Path) -> None:
    analyses = CachedAnalyses(DiskCache(tmp_path), ["statistics"])
    with pytest.raises(ImageError, match="images are"):
        analyses.calculate_analyses(np.zeros((3, 3)))
    twice = [AnalysisRequest("luma_waveform", {"luma": luma}) for luma in ("bt709", "bt601")]
    with pytest.raises(RayjobsError, match="asked for twice"):
        analyses.calculate_analyses(example_image("uint8", 3), twice)
