"""The files of a report: pages from the template, thumbnails, links between them.

Names of files are hostile text: the template escapes everything, links are percent-encoded bytes, and a page allows no
script, no network and no style but its own. Covers form only; what is shown is decided in ``report``.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from pipelines.errors import FailedReason, SkippedReason
from pipelines.tables import printable
from rayjobs.results.fixed_files import FixedFiles
from rayjobs.results.report_numbers import number_text

TEMPLATES = Path(__file__).parent.parent / "templates"
REASONS = tuple(reason.value for reason in (*FailedReason, *SkippedReason))
_KEY = re.compile(r"[0-9a-f]{8,64}")
FOLDER = "report"


class ReportPages:
    """Writes into ``report/`` of an output; every file appears whole."""

    def __init__(self, files: FixedFiles) -> None:
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
        self._style = (TEMPLATES / "report.css").read_text(encoding="utf-8") + _filter_style()

    def write_page(self, number: int, values: Mapping[str, Any]) -> None:
        """Write one page; page 1 is ``index.html``."""
        text = self._template.render(
            values, page=number, page_link=page_link, style=Markup(self._style), policy=_policy(self._style)
        )
        self._files.write(page_path(number), text.encode("utf-8", "backslashreplace"))

    def kept_thumbnail(self, key: str) -> str | None:
        """The link to the thumbnail of that key, if an earlier report has it; ``key`` is a digest in hexadecimal."""
        if not self._files.is_there(_thumbnail(key)):
            return None
        self._files.keep(_thumbnail(key))
        return _thumbnail(key).removeprefix(f"{FOLDER}/")

    def write_thumbnail(self, key: str, data: bytes) -> str | None:
        """Write the thumbnail of that key, and give the link to it; None where somebody else's file has its name."""
        if not self._files.is_free(_thumbnail(key)):
            return None
        self._files.write(_thumbnail(key), data, same_again=True)
        return _thumbnail(key).removeprefix(f"{FOLDER}/")


def _thumbnail(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError(f"a thumbnail's key is a hexadecimal digest, not {key!r}")
    return f"{FOLDER}/thumbnails/{key}.jpg"


def page_path(number: int) -> str:
    """Where a page lies, relative to the output."""
    return f"{FOLDER}/{page_link(number)}"


def page_link(number: int) -> str:
    """The file name of a page, which is also the link to it."""
    return "index.html" if number == 1 else f"page-{number:04d}.html"


def output_link(path: str) -> str:
    """The link from a page to a file of the output, given relative to the output."""
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
    return f"{value:g}" if isinstance(value, float) else str(value)


def _filter_style() -> str:
    """One rule per reason of the fixed list, so that choosing one needs no script."""
    return "".join(
        f'\n#reason-{reason}:checked ~ .rows tbody tr:not([data-reason="{reason}"]) {{ display: none; }}'
        for reason in REASONS
    )


def _policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src 'self' file: data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
