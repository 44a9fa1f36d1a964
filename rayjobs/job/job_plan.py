"""From a job to its plan: the products that it wants, the names that its outputs get, and what workers are told.

Covers digests, naming and recipes. Which inputs there are: ``discovery``; what they have already: the ledger; what is
then lacking: ``actors.ledger.product_plan``.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from actors.ledger.file_record import FIXED, TASK
from actors.ledger.input_plan import Naming, Place
from actors.ledger.job_ledger import JobLedger, OpenInput
from actors.ledger.product_plan import ANALYSIS, CHART, IMAGE, missing_products
from pipelines import cache_keys
from pipelines.analyses import ANALYSES
from pipelines.analyses.frames import frame_requests, is_of_frames, measured
from pipelines.charts import ChartOptions, charts_of
from pipelines.errors import ImageError
from pipelines.extensions.extension_adapters import ExtensionKind
from pipelines.extensions.extension_manager import process_extensions
from pipelines.image_io import DECODING_VERSION, EncodeOptions, ReadPolicy, probe_file, suffix_of
from pipelines.models import AnalysisRequest, WorkItem
from pipelines.stages.cached_analyses import Kept, chain_name, is_scalar
from pipelines.stages.image_task import Recipe
from pipelines.stages.output_names import (
    NamePattern,
    NameSource,
    apart_from_frames,
    collision_key,
    is_frame_name,
    output_name,
    renamed,
)
from pipelines.stages.output_paths import OutputPaths, image_stem
from pipelines.storage.custody import Standing
from pipelines.storage.local_files import compare
from pipelines.tables import readable_path
from rayjobs.job.beside import BESIDE, beside_source, place, real_directory
from rayjobs.job.job_spec import JobSpec

_OUR_DECODING = "rayjobs decoding"
DECIDING_PACKAGES = (*cache_keys.DECIDING_PACKAGES, "Pillow", "tifffile", "imagecodecs", "simplejpeg", _OUR_DECODING)
"""Whose versions may decide a pixel or a number, decoding and encoding included: another one makes a product anew."""
DRAWING_PACKAGES = ("matplotlib",)
CONFLICTS: Mapping[str, Literal["refuse", "skip", "overwrite"]] = {
    "rename": "refuse",
    "error": "refuse",
    "skip": "skip",
    "overwrite": "overwrite",
}


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Package -> installed version."""
    return {name: _version(name) for name in packages}


@lru_cache(maxsize=64)
def _version(package: str) -> str:
    return DECODING_VERSION if package == _OUR_DECODING else metadata.version(package)


def read_policy(spec: JobSpec) -> ReadPolicy:
    """How the job's inputs are decoded."""
    return ReadPolicy(
        truncated=spec.read.truncated,
        frames=spec.read.frames,
        color=spec.read.color,
        max_pixels=spec.limits.max_pixels,
    )


def encode_options(spec: JobSpec) -> EncodeOptions | None:
    """How rendered images are written; None for a job that writes none."""
    images = spec.export.images
    if images is None:
        return None
    return EncodeOptions(
        format=images.format,
        quality=images.quality,
        chroma=images.chroma,
        compression=images.compression,
        bit_depth=images.bit_depth,
        metadata=images.metadata,
        copyright=images.set.copyright,
        artist=images.set.artist,
    )


def chart_options(spec: JobSpec) -> ChartOptions | None:
    """How charts are drawn; None for a job without."""
    charts = spec.export.charts
    if charts is None:
        return None
    return ChartOptions(
        format=charts.format, engine=charts.engine, scale=charts.scale, width=charts.width, height=charts.height
    )


def deciding_extensions(spec: JobSpec) -> dict[str, str]:
    """Versions of the job's plug-ins that may decide a pixel or a number; resource and task types don't."""
    kinds = (ExtensionKind.PROCESSOR, ExtensionKind.ANALYSIS, ExtensionKind.CHART)
    return process_extensions().versions(spec.plugins, kinds=kinds)


def wanted_products(spec: JobSpec, extensions: Mapping[str, str]) -> dict[str, str]:
    """Product -> digest of all that decides its bytes, but for the input itself.

    ``extensions`` are the versions of the plug-ins that the job uses; see ``deciding_extensions``.
    """
    pixels = _digest(
        [cache_keys.step_key(operation) for operation in spec.operations],
        spec.read.model_dump(),
        versions(DECIDING_PACKAGES),
        dict(extensions),
    )
    found: dict[str, str] = {}
    if spec.export.images is not None:
        chosen = spec.export.images.model_dump(exclude={"on_conflict", "layout", "name"})
        if spec.export.images.layout == BESIDE:  # a name may stay the same while the place changes
            chosen["layout"] = BESIDE
        found[IMAGE] = _digest(pixels, chosen)
    for request in table_requests(spec):
        found[ANALYSIS + request.canonical()] = _digest(pixels, *_decided_by(request))
    charts = spec.export.charts
    if charts is not None:
        for name in charts_of(spec.analyses):
            request = next(request for request in spec.analyses if request.name == name)
            drawing = versions(DRAWING_PACKAGES) if charts.engine == "matplotlib" else {}
            result = found[ANALYSIS + request.canonical()]
            found[CHART + name] = _digest(result, request.canonical(), charts.model_dump(), drawing)
    return found


def table_requests(spec: JobSpec) -> tuple[AnalysisRequest, ...]:
    """Everything that has columns or rows in the tables: the job's analyses, and the rows of frames if it reads all."""
    return spec.analyses + (frame_requests(spec.analyses) if spec.read.frames == "all" else ())


def _decided_by(request: AnalysisRequest) -> list[Any]:
    """What decides numbers besides pixels and parameters: versions, and the files that analyses are told to read."""
    requests = measured([request]) if is_of_frames(request) else (request,)
    versions = [ANALYSES[each.name].version for each in requests]
    files = [contents for each in requests if (contents := cache_keys.named_contents(each))]
    return [versions if is_of_frames(request) else versions[0], *files]


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def naming(spec: JobSpec, root: Path, ledger: JobLedger) -> Naming:
    """How the job names its outputs below the output directory ``root``.

    A file that is there already is somebody else's, unless the ledger's record says otherwise.
    """
    images = spec.export.images
    pattern = NamePattern.parse(images.name if images else "{stem}")
    layout = images.layout if images else "mirror"
    conflict = images.on_conflict if images else "rename"
    policy = read_policy(spec)
    paths, stem = output_paths(spec), image_stems(spec, root)
    before = ledger.facts.spec()
    real_directory.cache_clear()  # a directory may have become a link since an earlier plan of this process

    def name(path: bytes, relative: bytes, number: int) -> str:
        width, height = _size(path, policy) if pattern.needs_size else (0, 0)
        if layout == BESIDE:
            relative = place(path, root)
        source = NameSource(relative=relative, index=number, job=spec.name, width=width, height=height)
        found = output_name(pattern, source, layout=layout)
        return apart_from_frames(found) if policy.frames == "all" else found

    listings: dict[str, list[str]] = {}

    def further_paths(at: Place) -> list[str]:
        return paths.further(stem(at.path, at.name), at.name) if policy.frames == "all" else []

    def further(at: Place) -> Iterator[str]:
        """Files that lie where the further images of a file with several would go."""
        for start in further_paths(at):
            directory, _, begin = start.rpartition("/")
            if directory not in listings:
                listings[directory] = _names_in(root / directory)
            yield from (f"{directory}/{n}" for n in listings[directory] if n.startswith(begin) and is_frame_name(n))

    def taken(at: Place) -> str | None:
        charts = paths.charts(at.name)
        for relative in [*paths.images(stem(at.path, at.name)), *charts, *further(at)]:
            if os.path.lexists(root / relative):
                entry = ledger.files.find(relative)
                if entry is not None and compare(root / relative, entry)[0] is Standing.AS_WRITTEN:
                    ours = entry.input in (None, at.id) and entry.product not in (FIXED, TASK)
                else:  # workers skip or replace an image, as the job says
                    ours = conflict in ("skip", "overwrite") and not relative.startswith("charts/")
                if not ours:
                    return relative
        return None

    real_root = os.path.realpath(root)
    among_images = collision_key(f"{real_root}/images/")

    def where(path: bytes) -> str:
        """Only what lies among images may be in the place of one."""
        if layout != BESIDE and not os.path.islink(path):
            real = real_directory(os.path.dirname(path)) + b"/"
            if not collision_key(os.fsdecode(real)).startswith(among_images):
                return ""
        return place_of(path)

    return Naming(
        name=name,
        key=collision_key,
        renamed=renamed,
        kept=before is None or naming_rules(before) == naming_rules(spec.model_dump(mode="json")),
        of_content=pattern.needs_size,
        numbered=pattern.is_numbered,
        taken=taken,
        place=where if images is not None else None,
        outputs=lambda at: [
            collision_key(os.path.normpath(f"{real_root}/{relative}"))
            for relative in paths.images(stem(at.path, at.name))
        ],
        further_outputs=lambda at: [
            collision_key(os.path.normpath(f"{real_root}/{start}"))
            for start in further_paths(at)
            if not start.startswith("charts/")
        ],
        collisions="error" if conflict == "error" else "rename",
        gives_way=conflict == "rename" or (conflict == "skip" and layout == BESIDE),
    )


def _names_in(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def naming_rules(spec: Mapping[str, Any]) -> list[Any]:
    """What of a stored job decides the names of its outputs."""
    images = spec["export"]["images"] or {}
    pattern = images.get("name", "{stem}")
    job = spec["name"] if "{job}" in pattern else ""
    return [pattern, images.get("layout", "mirror"), spec["read"]["frames"] == "all", job]


def place_of(path: bytes) -> str:
    """What tells whether two paths are one file, on file systems that tell no case as well; links are followed."""
    directory, name = os.path.split(os.path.realpath(path) if os.path.islink(path) else path)
    return collision_key(os.fsdecode(os.path.join(real_directory(directory), name)))


def output_paths(spec: JobSpec) -> OutputPaths:
    """Where the files of a job's inputs may lie."""
    images, charts = spec.export.images, spec.export.charts
    return OutputPaths(
        image_suffixes=image_suffixes(images.format) if images else (),
        chart_suffix=f".{charts.format}" if charts else "",
        charted=charts_of(spec.analyses) if charts else (),
    )


def is_beside(spec: JobSpec) -> bool:
    """Whether images go beside their sources."""
    return spec.export.images is not None and spec.export.images.layout == BESIDE


def image_stems(spec: JobSpec, root: Path) -> Callable[[bytes, str], str]:
    """What gives the place of an input's image for its path and name, without the suffix."""
    beside = is_beside(spec)
    return lambda path, name: image_stem(name, beside_source(path, name, root) if beside else None)


def image_suffixes(image_format: str) -> tuple[str, ...]:
    """What may follow an output's name; several for ``original``, where each input decides."""
    if image_format == "original":
        return tuple(suffix_of(name) for name in ("jpeg", "png", "tiff", "webp", "avif", "bmp"))
    return (suffix_of(image_format),)


def _size(path: bytes, policy: ReadPolicy) -> tuple[int, int]:
    """Width and height of an input; 0 x 0 when its header can't be read, which its row will say later."""
    try:
        header = probe_file(path, policy)
    except ImageError:
        return 0, 0
    return header.width, header.height


class RecipeBook:
    """What workers are told to do for an input: recipes by number, made as combinations of lacking products occur."""

    def __init__(self, spec: JobSpec, wanted: Mapping[str, str], ledger: JobLedger, root: Path | None = None) -> None:
        self._beside = root if is_beside(spec) else None
        self._spec = spec
        self._wanted = wanted
        self._ledger = ledger
        self._first = ledger.files.is_empty()  # then nothing of the job's can be in the way
        self._lock = threading.Lock()
        self._by_have: dict[tuple[int, ...], int] = {}
        self.recipes: dict[int, Recipe] = {}
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
            place=entry.seq,
            image=(beside_source(entry.path, entry.name, self._beside) or "") if self._beside else "",
        )
        if self._first:
            return item
        recipe, stem = self.recipes[number], image_stem(item.name, item.image)
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
        self.recipes[number] = self._recipe(number, IMAGE in missing, requests, charted)
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
    """Which analyses may come from other jobs and go to them; none of what an extension without a version decides."""
    unknown = process_extensions().without_version()
    if spec.cache == "off" or any(step.name in unknown for step in spec.operations):
        return None
    names = tuple(
        (request.name, f"{request.canonical()} {wanted[ANALYSIS + request.canonical()]} {_version('rayjobs-app')}")
        for request in spec.analyses
        if request.name not in unknown and (spec.cache == "on" or is_scalar(request))
    )
    return Kept(chain_name(spec.operations), names) if names else None


def _product_of(request: AnalysisRequest) -> str:
    return ANALYSIS + request.canonical()
