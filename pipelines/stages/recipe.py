"""What is to be made of an input, and how: a value that travels to the workers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import pyarrow as pa

from pipelines.analyses import Analysis, Result
from pipelines.analyses.frames import TABLED
from pipelines.charts import ChartOptions
from pipelines.image_io import (
    EncodeOptions,
    ReadPolicy,
)
from pipelines.models import AnalysisRequest, ImageOperation, WorkItem
from pipelines.operations.column_values import with_values
from pipelines.stages.cached_analyses import Kept, chain_name
from pipelines.stages.output_paths import OutputPaths
from pipelines.tables import object_schemas, saved_schema

Results = Mapping[str, Result]
"""Analysis name -> its columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What to compute for an input: the products that it lacks."""

    id: int
    """Number of this set of products in the job's ledger."""
    operations: tuple[ImageOperation, ...] = ()
    """As the job has them: ``own_recipe`` puts an input's values in place of references to its columns."""
    read: ReadPolicy
    pixels: str = ""
    """Digest of all that decides an input's pixels after the operations, but for the input and its columns' values."""
    image: EncodeOptions | None = None
    """None: no image is wanted, or it is there already."""
    image_suffixes: tuple[str, ...] = ()
    """What may follow the item's name: ``.jpg``; several when each input keeps its own format."""
    analyses: tuple[AnalysisRequest, ...] = ()
    charts: ChartOptions | None = None
    charted: tuple[str, ...] = ()
    """Analyses to draw; each of them is among ``analyses``."""
    kept: Kept | None = None
    """Analyses that may come from other jobs, and go to them; None: none may."""
    on_conflict: Literal["refuse", "skip", "overwrite"] = "refuse"
    """When a file that isn't the job's has an output's name."""
    memory_per_image: int | None = None
    """Bytes that decoding one image may need; larger ones are done in bands, where that is possible."""

    @property
    def paths(self) -> OutputPaths:
        """Where it publishes."""
        suffix = "" if self.charts is None else f".{self.charts.format}"
        return OutputPaths(image_suffixes=self.image_suffixes, chart_suffix=suffix, charted=self.charted)


def own_recipe(recipe: Recipe, item: WorkItem) -> Recipe:
    """The recipe with the values of an input's columns in its operations."""
    if not item.values:
        return recipe
    operations = with_values(recipe.operations, json.loads(item.values))
    kept = recipe.kept and replace(recipe.kept, chain=chain_name(operations))
    return replace(recipe, operations=operations, kept=kept)


def result_schemas(recipe: Recipe) -> tuple[pa.Schema, dict[str, pa.Schema]]:
    """Of the table of images and, by analysis, of the tables of objects that the recipe gives rows of."""
    return _schemas(recipe.analyses, tuple(TABLED[request.name] for request in recipe.analyses))


@lru_cache(maxsize=16)
def _schemas(
    requests: tuple[AnalysisRequest, ...], analyses: tuple[Analysis, ...]
) -> tuple[pa.Schema, dict[str, pa.Schema]]:
    """Of the images' table and, by analysis, of the tables of objects; ``analyses`` as for ``calculator``."""
    by_name = {analysis.name: analysis for analysis in analyses}
    rows = object_schemas(requests, by_name)
    return saved_schema(requests, by_name), {request.name: schema for request, schema in rows.items()}
