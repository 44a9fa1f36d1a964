"""What a worker does with an input: recipes from the job, the products that are open, and what is known."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from actors.ledger.job_ledger import JobLedger
from actors.ledger.ledger_rows import OpenInput
from actors.ledger.product_plan import ANALYSIS, CHART, IMAGE, missing_products
from pipelines.charts import charts_of
from pipelines.extensions.extension_manager import process_extensions
from pipelines.models import AnalysisRequest, WorkItem
from pipelines.stages.cached_analyses import Kept, chain_name, is_scalar
from pipelines.stages.output_paths import image_stem
from pipelines.stages.recipe import Recipe
from pipelines.tables import readable_path
from rayjobs.job.beside import beside_source
from rayjobs.job.column_uses import names_files
from rayjobs.job.job_spec import JobSpec
from rayjobs.job.naming import image_suffixes, is_beside
from rayjobs.job.options import CONFLICTS, chart_options, encode_options, read_policy
from rayjobs.job.product_keys import table_requests, version


class JobRecipes:
    """What workers are told to do for an input: recipes by number, made as combinations of lacking products occur."""

    def __init__(self, spec: JobSpec, wanted: Mapping[str, str], ledger: JobLedger, root: Path | None = None) -> None:
        self._beside = root if is_beside(spec) else None
        self._spec = spec
        self._wanted = wanted
        self._ledger = ledger
        self._pixels = ledger.facts.read().pixels
        self._first = ledger.files.is_empty()  # then nothing of the job's can be in the way
        self._lock = threading.Lock()
        self._by_have: dict[tuple[int, ...], int] = {}
        self.by_number: dict[int, Recipe] = {}
        """Recipe number -> recipe, for all items handed out so far."""

    def items(self, inputs: Sequence[OpenInput]) -> list[WorkItem]:
        """What a worker must know of each input. Safe to call from several threads."""
        with self._lock:
            return [self._item(entry) for entry in inputs]

    def _item(self, entry: OpenInput) -> WorkItem:
        number = self._by_have.get(entry.recipes)
        if number is None:
            number = self._by_have[entry.recipes] = self._add(entry.recipes)
        item = WorkItem(
            id=entry.id,
            path=entry.path,
            size=entry.size,
            mtime_ns=entry.mtime_ns,
            name=entry.name,
            title=readable_path(entry.path),
            recipe=number,
            seq=entry.seq,
            values=entry.values,
            image=(beside_source(entry.path, entry.name, self._beside) or "") if self._beside else "",
        )
        if self._first:
            return item
        recipe, stem = self.by_number[number], image_stem(item.name, item.image)
        known = self._ledger.files.known([*recipe.paths.images(stem), *recipe.paths.charts(item.name)])
        if recipe.read.frames == "all":
            known += self._ledger.files.known_below(recipe.paths.further(stem, item.name))
        return replace(item, known=known)

    def _add(self, have: tuple[int, ...]) -> int:
        recipes = self._ledger.recipes()
        missing = missing_products(self._wanted, [recipes[number] for number in have])
        charted = tuple(name for name in charts_of(self._spec.analyses) if CHART + name in missing)
        requests = tuple(
            request
            for request in table_requests(self._spec)
            if ANALYSIS + request.canonical() in missing or request.name in charted
        )
        # A chart is drawn from numbers: an analysis that only its chart needs is computed, and kept, once more.
        missing |= {product: self._wanted[product] for product in map(_product_of, requests)}
        number = self._ledger.recipe_id(missing)
        self.by_number[number] = self._recipe(number, IMAGE in missing, requests, charted)
        return number

    def _recipe(
        self, number: int, image: bool, requests: tuple[AnalysisRequest, ...], charted: tuple[str, ...]
    ) -> Recipe:
        spec = self._spec
        images = spec.export.images
        options = encode_options(spec) if image else None
        return Recipe(
            id=number,
            operations=spec.operations,
            read=read_policy(spec),
            pixels=self._pixels,
            image=options,
            image_suffixes=image_suffixes(options.format) if options else (),
            analyses=requests,
            charts=chart_options(spec) if charted else None,
            charted=charted,
            on_conflict=CONFLICTS[images.on_conflict] if images else "refuse",
            memory_per_image=spec.limits.memory_per_image,
            kept=kept_analyses(spec, self._wanted),
        )


def kept_analyses(spec: JobSpec, wanted: Mapping[str, str]) -> Kept | None:
    """Which analyses may come from other jobs and go to them; none of what an extension without a version decides, and
    none where each input may name another file for an operation."""
    unknown = process_extensions().without_version()
    if spec.cache == "off" or any(step.name in unknown for step in spec.operations) or names_files(spec):
        return None
    names = tuple(
        (request.name, f"{request.canonical()} {wanted[ANALYSIS + request.canonical()]} {version('rayjobs-app')}")
        for request in spec.analyses
        if request.name not in unknown and (spec.cache == "on" or is_scalar(request))
    )
    return Kept(chain_name(spec.operations), names) if names else None


def _product_of(request: AnalysisRequest) -> str:
    return ANALYSIS + request.canonical()
