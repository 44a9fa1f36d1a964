"""Names of outputs: given once, free of what is there, the same in every run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from actors.ledger.file_record import FIXED, TASK
from actors.ledger.input_plan import Naming, Place
from actors.ledger.job_ledger import JobLedger
from pipelines.charts import charts_of
from pipelines.errors import ImageError
from pipelines.image_io import ReadPolicy, probe_file, suffix_of
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
from rayjobs.job.beside import BESIDE, beside_source, place, real_directory
from rayjobs.job.job_spec import JobSpec
from rayjobs.job.options import read_policy


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
