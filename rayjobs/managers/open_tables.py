"""The tables of a job by the names that programs know them by, read as Arrow, pandas, polars, DuckDB and Ray take them.

What isn't installed with Rayjobs is imported when it is asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import JobError
from pipelines.registry import nearest
from pipelines.tables import manifest_schema
from rayjobs.results.published import SCOPES, TABLE

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import polars as pl

IMAGES = "images"
MANIFEST = "manifest"
FAILED_COLUMNS = ("input", "reason", "message")


@dataclass(frozen=True, slots=True)
class OpenTables:
    """The tables below one directory: of an output, or of its ``partial``."""

    job: str
    """Its name, for messages."""
    place: Path
    """Has ``manifest.parquet``, and ``data`` if the job has tables."""

    def names(self) -> list[str]:
        """``images``, ``objects``, ``scopes/luma_waveform``, ...: those that there are."""
        return list(self._paths())

    def read(self, name: str, columns: Sequence[str] | None = None, *, only: Any = None) -> pa.Table:
        """A table, or some of its columns; ``only``: the rows that pyarrow's filter lets through.

        Raises
        ------
        JobError
            The job has no such table, the table no such column, or it can't be read.
        """
        path = self._path(name)
        self._known_columns(name, path, columns)
        with self._reading(path):
            chosen = None if columns is None else list(columns)
            return pq.read_table(list(map(str, _files(path))), columns=chosen, filters=only, partitioning=None)

    def _known_columns(self, name: str, path: Path, columns: Sequence[str] | None) -> list[str]:
        """All columns of a table, which has those that are asked for."""
        known: list[str] = self._schema(path).names
        if unknown := [column for column in columns or () if column not in known]:
            raise JobError(f"{self.job}: {name} has no column {unknown[0]!r}{nearest(unknown[0], known)}")
        return known

    def failures(self) -> pa.Table:
        """Input, reason and message of each that failed, and what the job's table or pattern says of it."""
        standard = set(manifest_schema().names)
        names = self._schema(self._path(MANIFEST)).names
        shown = [name for name in names if name in FAILED_COLUMNS or name not in standard]
        return self.read(MANIFEST, shown, only=[("status", "==", "failed")])

    def pandas(self, name: str, columns: Sequence[str] | None) -> pd.DataFrame:
        return self.read(name, columns).to_pandas()

    def polars(self, name: str, columns: Sequence[str] | None) -> pl.DataFrame:
        """Raises JobError as well if polars isn't installed."""
        found: pl.DataFrame = _installed("polars").from_arrow(self.read(name, columns))
        return found

    def duckdb(self) -> duckdb.DuckDBPyConnection:
        """Every table by its name, with ``_`` for ``/``; nothing is read before it is asked for.

        Files that are no tables are left out, with a warning.
        """
        import pyarrow.dataset as ds

        connection: duckdb.DuckDBPyConnection = _installed("duckdb").connect()
        for name, path in self._paths().items():
            try:
                schemas = [self._schema(file) for file in _files(path)]
            except JobError as error:
                warnings.warn(f"left out: {error}", stacklevel=3)
                continue
            files = [str(file) for file in _files(path)]
            connection.register(name.replace("/", "_"), ds.dataset(files, schema=schemas[0], format="parquet"))
        return connection

    def ray(self, name: str, columns: Sequence[str] | None) -> Any:
        """A ``ray.data.Dataset``; raises JobError as well if Ray isn't connected."""
        from rayjobs.managers.ray_dataset import ray_dataset

        path = self._path(name)
        self._known_columns(name, path, columns)
        return ray_dataset([str(file) for file in _files(path)], columns)

    def _schema(self, table: Path) -> pa.Schema:
        file = _files(table)[0]
        with self._reading(file):
            return pq.read_schema(file)

    @contextmanager
    def _reading(self, path: Path) -> Iterator[None]:
        """What anybody put among the tables, or damaged, is told in a line."""
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            why = str(getattr(error, "strerror", None) or error).strip().partition("\n")[0]
            raise JobError(f"{self.job}: the table {path} can't be read: {why}") from error

    def _path(self, name: str) -> Path:
        paths = self._paths()
        if name in paths:
            return paths[name]
        there = ", ".join(paths) or "none"
        needs = "" if IMAGES in paths else "; others need analyses, and parquet among `export.data`"
        raise JobError(f"{self.job}: has no table {name!r}; it has {there}{needs}{nearest(name, paths)}")

    def _paths(self) -> dict[str, Path]:
        return dict(self._found())

    def _found(self) -> Iterator[tuple[str, Path]]:
        data = self.place / "data"
        for path in sorted(data.glob("*.parquet"), key=lambda path: (path.stem != TABLE, path.stem)):
            if path.stem not in (IMAGES, MANIFEST) and _files(path):  # these mean other tables
                yield IMAGES if path.stem == TABLE else path.stem, path
        for path in sorted((data / SCOPES).glob("*.parquet")):
            if _files(path):
                yield f"{SCOPES}/{path.stem}", path
        manifest = self.place / f"{MANIFEST}.parquet"
        if manifest.is_file():
            yield MANIFEST, manifest


def _files(table: Path) -> list[Path]:
    """A large table is a directory of several; a directory of anything else has none."""
    return sorted(part for part in table.glob("*.parquet") if part.is_file()) if table.is_dir() else [table]


def _installed(package: str) -> Any:
    try:
        return import_module(package)
    except ImportError as error:
        raise JobError(f"{package} isn't installed: pip install {package}, or 'rayjobs-app[notebook]'") from error
