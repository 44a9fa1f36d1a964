"""Analyses that were measured before aren't measured again, whichever job asked for them then.

For interactive use, on pixels in memory; a job's own results are in its ledger and parts. A cache that is wrong in no
way changes a number: keys cover the pixels, every parameter and all versions (``cache_keys``).
"""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.analyses import AnalysisCalculator, Result
from pipelines.analyses.calculator import Asked, expand_analyses
from pipelines.cache_keys import analysis_key, chain_key, content_digest
from pipelines.operations.chain import check_image
from pipelines.operations.registry import Image
from pipelines.result_cache import ResultCache


class CachedAnalyses:
    """``AnalysisCalculator`` in front of a cache such as ``actors.DiskCache``; may be used from several threads."""

    def __init__(self, cache: ResultCache, requests: Iterable[Asked] = ()) -> None:
        self._cache = cache
        self._requests = expand_analyses(requests)
        self._calculator = AnalysisCalculator(self._requests)

    def calculate_analyses(self, image: Image, analyses: Iterable[Asked] | None = None) -> dict[str, Result]:
        """As ``AnalysisCalculator.calculate_analyses``; arrays from the cache are read-only.

        Raises
        ------
        ImageError
            As the calculator; failures aren't kept.
        RayjobsError
            As ``expand_analyses``.
        """
        requests, calculator = self._requests, self._calculator
        if analyses is not None:
            requests = expand_analyses(analyses)
            calculator = AnalysisCalculator(requests)
        check_image(image)
        content, unchanged = content_digest(image), chain_key(())
        keys = {request.name: analysis_key(content, unchanged, request) for request in requests}
        found = {name: result for name, key in keys.items() if (result := self._cache.get(key)) is not None}
        lacking = [request for request in requests if request.name not in found]
        if lacking:
            for name, result in calculator.calculate_analyses(image, lacking).items():
                self._cache.put(keys[name], result)
                found[name] = result
        return {name: found[name] for name in keys}
