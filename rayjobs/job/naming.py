"""Names of outputs: given once, free of what is there, the same in every run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from actors.ledger.file_record import FIXED, TASK
from actors.ledger.input_plan import Naming, Place
from actors.ledger.job_ledger import JobLedger
from pipelines.charts import charts_of
from pipelines.column_models import Cell
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
    real_directory.cache_clear()  # a directory may have become a link since an earlier plan of this process
    before = ledger.facts.spec()
    names = _Names(spec, root, ledger)
    conflict = names.on_conflict
    return Naming(
        name=names.name,
        key=collision_key,
        renamed=renamed,
        kept=before is None or naming_rules(before) == naming_rules(spec.model_dump(mode="json")),
        of_content=names.pattern.needs_size,
        of_columns=tuple(names.pattern.columns),
        numbered=names.pattern.is_numbered,
        taken=names.taken,
        place=names.place if spec.export.images is not None else None,
        outputs=lambda at: names.keys(names.images(at)),
        further_outputs=lambda at: names.keys(start for start in names.further(at) if not start.startswith("charts/")),
        collisions="error" if conflict == "error" else "rename",
        gives_way=conflict == "rename" or (conflict == "skip" and is_beside(spec)),
    )


class _Names:
    """The names of a job's outputs, and what lies in their places."""

    def __init__(self, spec: JobSpec, root: Path, ledger: JobLedger) -> None:
        images = spec.export.images
        self._spec, self._root, self._ledger = spec, root, ledger
        self._real_root = os.path.realpath(root)
        self._policy = read_policy(spec)
        self._layout = images.layout if images else "mirror"
        self._paths, self._stem = output_paths(spec), image_stems(spec, root)
        self._listings: dict[str, list[str]] = {}
        self.pattern = NamePattern.parse(images.name if images else "{stem}", columns=None)
        self.on_conflict = images.on_conflict if images else "rename"

    def name(self, path: bytes, relative: bytes, number: int, cells: Mapping[str, Cell]) -> str:
        width, height = _size(path, self._policy) if self.pattern.needs_size else (0, 0)
        if self._layout == BESIDE:
            relative = place(path, self._root)
        source = NameSource(
            relative=relative, index=number, job=self._spec.name, width=width, height=height, cells=cells
        )
        found = output_name(self.pattern, source, layout=self._layout)
        return apart_from_frames(found) if self._policy.frames == "all" else found

    def images(self, at: Place) -> list[str]:
        """Where an input's image may lie, relative to the output."""
        return self._paths.images(self._stem(at.path, at.name))

    def further(self, at: Place) -> list[str]:
        """How the paths of the further images of a file with several begin."""
        return self._paths.further(self._stem(at.path, at.name), at.name) if self._policy.frames == "all" else []

    def keys(self, paths: Iterable[str]) -> list[str]:
        """What ``place`` says of outputs."""
        return [collision_key(os.path.normpath(f"{self._real_root}/{path}")) for path in paths]

    def place(self, path: bytes) -> str:
        """What tells whether an input is the same file as an output; only what lies among images may be."""
        if self._layout != BESIDE and not os.path.islink(path):
            real = real_directory(os.path.dirname(path)) + b"/"
            if not collision_key(os.fsdecode(real)).startswith(collision_key(f"{self._real_root}/images/")):
                return ""
        return place_of(path)

    def taken(self, at: Place) -> str | None:
        """The file that isn't ours, or another input's, in the place of one of the outputs."""
        charts = self._paths.charts(at.name)
        for relative in [*self.images(at), *charts, *self._of_frames(at)]:
            if os.path.lexists(self._root / relative) and not self._is_ours(relative, at):
                return relative
        return None

    def _is_ours(self, relative: str, at: Place) -> bool:
        entry = self._ledger.files.find(relative)
        if entry is not None and compare(self._root / relative, entry)[0] is Standing.AS_WRITTEN:
            return entry.input in (None, at.id) and entry.product not in (FIXED, TASK)
        # workers skip or replace an image, as the job says
        return self.on_conflict in ("skip", "overwrite") and not relative.startswith("charts/")

    def _of_frames(self, at: Place) -> Iterator[str]:
        """Files that lie where the further images of a file with several would go."""
        for start in self.further(at):
            directory, _, begin = start.rpartition("/")
            if directory not in self._listings:
                self._listings[directory] = _names_in(self._root / directory)
            names = self._listings[directory]
            yield from (f"{directory}/{name}" for name in names if name.startswith(begin) and is_frame_name(name))


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
