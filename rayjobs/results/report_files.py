"""The files of a report: one page, its script and style, its data beside it, thumbnails; and the links between them.

Names of files are hostile text. The page's template escapes everything; data are JSON in scripts that call one function
of ours, and the page's script puts texts into text nodes only; links are percent-encoded bytes. The page allows no
other script or style, and no network. Covers form only; what is shown is decided in ``report``.

Data come in scripts since browsers read no other file beside a page that is opened from a disk. A *block* has what the
pictures, search and filters need of 10,000 inputs; a *column* has one number of the inputs of a block, read when one
sorts by it; *rows* have the rest of 500 inputs, read when one of them is opened.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from pipelines.stages.thumbnails import FOLDER as THUMBNAILS
from pipelines.stages.thumbnails import is_whole, thumbnail_name
from pipelines.tables import printable
from rayjobs.results.fixed_files import FixedFiles
from rayjobs.results.report_numbers import number_text

TEMPLATES = Path(__file__).parent.parent / "templates"
BLOCK_ROWS = 10_000
CHUNK_ROWS = 500
FOLDER = "report"
DATA = f"{FOLDER}/data"
PAGE = f"{FOLDER}/index.html"
_JOB = f"{DATA}/job.js"
_BESIDE = ("report.css", "report.js")
"""Files of the program that lie beside each page; another version of it has others."""
_KEY = re.compile(r"[0-9a-f]{8,64}(-before)?")
_POLICY = (
    "default-src 'none'; img-src 'self' file: data:; style-src 'self' file:; script-src 'self' file:; "
    "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types rayjobs"
)


def report_names(inputs: int, measures: int) -> Iterator[str]:
    """The files of a report on so many inputs and numbers but for thumbnails, relative to the output."""
    yield from (PAGE, *(f"{FOLDER}/{name}" for name in _BESIDE), _JOB)
    for block in range(-(-inputs // BLOCK_ROWS)):
        yield _block(block)
        yield from (_column(measure, block) for measure in range(measures))
    yield from (_rows(chunk) for chunk in range(-(-inputs // CHUNK_ROWS)))


def _block(number: int) -> str:
    return f"{DATA}/block-{number:05d}.js"


def _column(measure: int, block: int) -> str:
    return f"{DATA}/column-{measure:03d}-{block:05d}.js"


def _rows(number: int) -> str:
    return f"{DATA}/rows-{number:05d}.js"


class ReportFiles:
    """Writes into ``report/`` of an output; every file appears whole."""

    def __init__(self, files: FixedFiles) -> None:
        import jinja2  # here: a job with nothing left to do has no page to write, and doesn't wait for it

        self._files = files
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {"number": number_text, "printable": printable, "parameter": _parameter_text}
        self._template = environment.get_template("report.html.j2")

    def write_page(self, values: Mapping[str, Any]) -> None:
        """Write the page with the script and the style beside it."""
        for name in _BESIDE:
            self._files.write(f"{FOLDER}/{name}", (TEMPLATES / name).read_bytes())
        text = self._template.render(values, policy=_POLICY, output_link=output_link)
        self._files.write(PAGE, text.encode("utf-8", "backslashreplace"))

    def write_job(self, facts: Mapping[str, Any]) -> None:
        """What the page's script knows of the job as a whole."""
        self._files.write(_JOB, _script("job", facts))

    def write_block(self, number: int, facts: Mapping[str, Any], columns: NDArray[np.float32]) -> None:
        """What search, filters and cards need of the inputs of a block; ``columns``: a row per input."""
        self._files.write(_block(number), _script("block", number, facts), same_again=True)
        for measure, values in enumerate(np.ascontiguousarray(columns.T.astype("<f4"))):
            text = base64.b64encode(values.tobytes()).decode()
            self._files.write(_column(measure, number), _script("column", measure, number, text), same_again=True)

    def write_rows(self, number: int, rows: Sequence[Any]) -> None:
        """The rest of the inputs of a chunk."""
        self._files.write(_rows(number), _script("rows", number, rows), same_again=True)

    def keep_thumbnails(self, keys: Iterable[str]) -> dict[str, bool]:
        """Of which of these hexadecimal digests an earlier report has the thumbnail; whether the stretched one, too."""
        names = {key: _thumbnails(key) for key in keys}
        there = self._files.there([name for both in names.values() for name in both])
        for name in there:
            self._files.keep(name)
        return {key: stretched in there for key, (plain, stretched) in names.items() if plain in there}

    def place_left_thumbnails(self, keys: Iterable[str]) -> dict[str, bool]:
        """Give what workers have left its name: of which digests the thumbnail; whether the stretched one, too."""
        names = {key: _thumbnails(key) for key in keys}
        left = ((name, self._files.left(os.path.basename(name))) for both in names.values() for name in both)
        placed = self._files.place_free({name: path for name, path in left if path is not None and is_whole(path)})
        return {key: stretched in placed for key, (plain, stretched) in names.items() if plain in placed}

    def write_thumbnails(self, key: str, files: Mapping[str, bytes]) -> tuple[bool, bool]:
        """Write what was made now, by file name; not where somebody else's file is."""
        made = ((name, files.get(Path(name).name)) for name in _thumbnails(key))
        plain, stretched = (data is not None and self._files.write_if_free(name, data) for name, data in made)
        return plain, plain and stretched


def _thumbnails(key: str) -> tuple[str, str]:
    if not _KEY.fullmatch(key):
        raise ValueError(f"a thumbnail's key is a hexadecimal digest, not {key!r}")
    return f"{THUMBNAILS}/{thumbnail_name(key)}", f"{THUMBNAILS}/{thumbnail_name(key, stretched=True)}"


def _script(function: str, *arguments: Any) -> bytes:
    """A call of one of the page's functions: ASCII, and nothing in it that could end a script or a line."""
    text = ", ".join(json.dumps(each, allow_nan=False, separators=(",", ":")) for each in arguments)
    return f"rayjobs.{function}({text});\n".replace("<", "\\u003c").encode("ascii")


def output_link(path: str) -> str:
    """The link from the page to a file of the output, given relative to the output."""
    return "../" + quote(os.fsencode(path), safe="/")


def file_link(path: bytes) -> str:
    """The link to a file of this machine, given as an absolute path."""
    return "file://" + quote(path, safe="/")


def _parameter_text(value: Any) -> str:
    """A parameter as a job file would say it: ``[0, 1]``, ``true``, ``fit``."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_parameter_text, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return np.format_float_positional(value, trim="-") if isinstance(value, float) else str(value)
