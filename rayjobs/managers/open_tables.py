"""The tables of a job by the names that programs know them by, read as Arrow, pandas, polars, DuckDB and Ray take them.

What isn't installed with Rayjobs is imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
            The job has no such table, or the table no such column.
        """
        path = self._path(name)
        known = _schema(path).names
        if unknown := [column for column in columns or () if column not in known]:
            raise JobError(f"{self.job}: {name} has no column {unknown[0]!r}{nearest(unknown[0], known)}")
        return pq.read_table(path, columns=None if columns is None else list(columns), filters=only, partitioning=None)

    def failures(self) -> pa.Table:
        """Input, reason and message of each that failed, and what the job's table or pattern says of it."""
        standard = set(manifest_schema().names)
        names = _schema(self._path(MANIFEST)).names
        shown = [name for name in names if name in FAILED_COLUMNS or name not in standard]
        return self.read(MANIFEST, shown, only=[("status", "==", "failed")])

    def pandas(self, name: str, columns: Sequence[str] | None) -> pd.DataFrame:
        return self.read(name, columns).to_pandas()

    def polars(self, name: str, columns: Sequence[str] | None) -> pl.DataFrame:
        """Raises JobError as well if polars isn't installed."""
        found: pl.DataFrame = _installed("polars").from_arrow(self.read(name, columns))
        return found

    def duckdb(self) -> duckdb.DuckDBPyConnection:
        """Every table by its name, with ``_`` for ``/``; nothing is read before it is asked for."""
        import pyarrow.dataset as ds

        connection: duckdb.DuckDBPyConnection = _installed("duckdb").connect()
        for name, path in self._paths().items():
            files = [str(file) for file in _files(path)]
            connection.register(name.replace("/", "_"), ds.dataset(files, schema=_schema(path), format="parquet"))
        return connection

    def ray(self, name: str, columns: Sequence[str] | None) -> Any:
        """A ``ray.data.Dataset``; raises JobError as well if Ray isn't connected."""
        from rayjobs.managers.ray_dataset import ray_dataset

        return ray_dataset([str(file) for file in _files(self._path(name))], columns)

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
        tables = sorted(data.glob("*.parquet"), key=lambda path: (path.stem != TABLE, path.stem))
        for path in tables:
            yield IMAGES if path.stem == TABLE else path.stem, path
        for path in sorted((data / SCOPES).glob("*.parquet")):
            yield f"{SCOPES}/{path.stem}", path
        manifest = self.place / f"{MANIFEST}.parquet"
        if manifest.is_file():
            yield MANIFEST, manifest


def _files(table: Path) -> list[Path]:
    """A large table is a directory of several."""
    return sorted(table.glob("*.parquet")) if table.is_dir() else [table]


def _schema(table: Path) -> pa.Schema:
    return pq.read_schema(_files(table)[0])


def _installed(package: str) -> Any:
    try:
        return import_module(package)
    except ImportError as error:
        raise JobError(f"{package} isn't installed: pip install {package}, or 'rayjobs-app[notebook]'") from error
