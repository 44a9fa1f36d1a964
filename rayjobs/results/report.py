"""The report of a job: pages of plain HTML that open offline, in ``report/`` of the output directory.

Covers what is shown: summary, failures, outliers and contact sheet, taken from streams so that memory holds one page.
Does not read the ledger and does not make thumbnails. See also ``report_pages`` (files, links, escaping) and
``report_numbers`` (medians and outliers).
"""

from __future__ import annotations

import heapq
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

from pipelines.column_models import Cell
from pipelines.models import AnalysisRequest, ImageOperation
from pipelines.quantity_texts import duration_text
from rayjobs.results.fixed_files import FixedFiles
from rayjobs.results.report_numbers import OUTLIER_SCORE, Distribution, Number, distributions, number_text
from rayjobs.results.report_pages import REASONS, ReportPages, file_link, output_link

PAGE_IMAGES = 200
MAX_IMAGES = 2_000
"""Images on the contact sheets of one report; of a larger job every n-th is shown, and all count for the outliers."""
MAX_FAILURES_PER_REASON = 200
MAX_OUTLIERS = 24
MAX_GROUPS = 100

MakeThumbnail = Callable[[Path], bytes | None]
"""Image file -> JPEG of at most 640 px, or None when it can't be shown. Called from several threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSummary:
    """What the head of the report says about the job."""

    name: str
    status: str
    done: int
    failed: int
    skipped: int
    seconds: float | None = None
    """Duration of the last run."""
    processed: int | None = None
    """Inputs that the last run itself processed; with ``seconds`` it gives the images per second."""
    finished: str = ""
    """When it ended, as text."""
    operations: tuple[ImageOperation, ...] = ()
    analyses: tuple[AnalysisRequest, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    """Package -> version."""
    files: tuple[str, ...] = ()
    """Tables to link to, relative to the output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportImage:
    """One done input."""

    input: str
    """Readable path (``pipelines.tables.readable_path``)."""
    source: bytes
    """Exact path of the input."""
    key: str
    """Hexadecimal digest that names the thumbnail: an existing thumbnail of that key is used again."""
    image: str | None = None
    """Rendered image, relative to the output; None when the job renders none."""
    charts: Mapping[str, str] = field(default_factory=dict)
    """Analysis -> chart, relative to the output."""
    cells: Mapping[str, Cell] = field(default_factory=dict)
    """What the job's table or its path says of it."""
    numbers: Mapping[str, Number] = field(default_factory=dict)
    """The job's key numbers, label -> value; also searched for outliers."""
    width: int | None = None
    height: int | None = None
    degraded: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFailure:
    """One input that failed or was skipped."""

    input: str
    status: Literal["failed", "skipped"]
    reason: str
    message: str
    cells: Mapping[str, Cell] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportGroups:
    """Mean and spread of the key numbers per group of inputs, as texts: the first groups of the table ``groups``."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Card:
    image: ReportImage
    thumbnail: str | None
    link: str
    charts: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outlier:
    card: _Card
    findings: tuple[str, ...]


def most_pages(images: int) -> int:
    """Pages that a report on at most so many done inputs may have."""
    return max(math.ceil(min(images, MAX_IMAGES) / PAGE_IMAGES), 1)


def _step(images: int, most: int = MAX_IMAGES) -> int:
    """Every how many-th image is shown."""
    return max(math.ceil(images / most), 1)


def write_report(
    files: FixedFiles,
    summary: ReportSummary,
    images: Iterable[ReportImage],
    failures: Iterable[ReportFailure],
    *,
    make_thumbnail: MakeThumbnail,
    groups: ReportGroups | None = None,
    page_images: int = PAGE_IMAGES,
    max_images: int = MAX_IMAGES,
) -> None:
    """Write ``report/index.html`` and its further pages into an output directory.

    Parameters
    ----------
    images
        The done inputs in order. Read twice (first for the medians), so an iterable that starts anew, not an iterator.
    failures
        The failed and skipped inputs in order, read once.

    Raises
    ------
    TypeError
        ``images`` is an iterator.
    """
    if isinstance(images, Iterator):
        raise TypeError("images are read twice: give an iterable that starts anew, not an iterator")
    columns, total = distributions((image.numbers for image in images), summary.done)
    step = _step(total, max_images)
    shown = math.ceil(total / step)
    pages = ReportPages(files)
    layout = {"summary": summary, "pages": max(math.ceil(shown / page_images), 1), "shown": shown, "total": total}
    outliers = _Outliers(columns)
    first: list[_Card] = []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
        studio = _Studio(files.root, pages, make_thumbnail, threads)
        chosen = (image for number, image in enumerate(outliers.watch(images)) if number % step == 0)
        for page, group in enumerate(_groups(chosen, page_images), start=1):
            cards = studio.cards(group)
            if page == 1:
                first = cards
            else:
                pages.write_page(page, {**layout, "cards": cards})
        far = outliers.found()
        far_cards = studio.cards([image for image, _ in far])
    pages.write_page(
        1,
        {
            **layout,
            "cards": first,
            "step": step,
            "columns": columns,
            "groups": groups,
            "outliers": [_Outlier(card=card, findings=found[1]) for card, found in zip(far_cards, far, strict=True)],
            "failures": _Failures(failures),
            "known_reasons": REASONS,
            "rate": _rate(summary),
            "duration": duration_text,
            "output_link": output_link,
        },
    )


class _Studio:
    """Makes cards: thumbnails that aren't there yet are made by several threads, one page at a time."""

    def __init__(self, output: Path, pages: ReportPages, make_thumbnail: MakeThumbnail, threads: Executor) -> None:
        self._output = output
        self._pages = pages
        self._make_thumbnail = make_thumbnail
        self._threads = threads

    def cards(self, images: Sequence[ReportImage]) -> list[_Card]:
        by_key = {image.key: image for image in images}  # pictures that are the same have one thumbnail
        links = dict(zip(by_key, self._threads.map(self._thumbnail, by_key.values()), strict=True))
        return [
            _Card(
                image=image,
                thumbnail=links[image.key],
                link=file_link(image.source) if image.image is None else output_link(image.image),
                charts={name: output_link(path) for name, path in image.charts.items()},
            )
            for image in images
        ]

    def _thumbnail(self, image: ReportImage) -> str | None:
        kept = self._pages.kept_thumbnail(image.key)
        if kept is not None:
            return kept
        path = Path(os.fsdecode(image.source)) if image.image is None else self._output / image.image
        data = self._make_thumbnail(path)
        return None if data is None else self._pages.write_thumbnail(image.key, data)


class _Outliers:
    """Keeps the images that lie farthest from the medians while a stream goes by."""

    def __init__(self, columns: Sequence[Distribution]) -> None:
        self._columns = columns
        self._farthest: list[tuple[float, int, ReportImage]] = []

    def watch(self, images: Iterable[ReportImage]) -> Iterator[ReportImage]:
        for number, image in enumerate(images):
            score = max((abs(score) for _, score in self._scores(image)), default=0.0)
            if score >= OUTLIER_SCORE:
                entry = (score, -number, image)  # the number decides between equals, the earlier image stays
                if len(self._farthest) < MAX_OUTLIERS:
                    heapq.heappush(self._farthest, entry)
                else:
                    heapq.heappushpop(self._farthest, entry)
            yield image

    def found(self) -> list[tuple[ReportImage, tuple[str, ...]]]:
        """The farthest images, farthest first, each with what is far about it in words."""
        ordered = sorted(self._farthest, key=lambda entry: (-entry[0], -entry[1]))
        return [(image, self._findings(image)) for _, _, image in ordered]

    def _scores(self, image: ReportImage) -> Iterator[tuple[Distribution, float]]:
        for column in self._columns:
            yield column, column.score(image.numbers.get(column.name))

    def _findings(self, image: ReportImage) -> tuple[str, ...]:
        far = [(column, score) for column, score in self._scores(image) if abs(score) >= OUTLIER_SCORE]
        return tuple(
            f"{column.name} {number_text(image.numbers[column.name])}: {abs(score):,.1f} σ "  # noqa: RUF001
            f"{'above' if score > 0 else 'below'} the median {number_text(column.median)}"
            for column, score in sorted(far, key=lambda entry: -abs(entry[1]))
        )


class _Failures:
    """All failures counted, and of each reason the first ones kept."""

    def __init__(self, failures: Iterable[ReportFailure]) -> None:
        self.counts: Counter[str] = Counter()
        self.rows: list[ReportFailure] = []
        for failure in failures:
            self.counts[failure.reason] += 1
            if self.counts[failure.reason] <= MAX_FAILURES_PER_REASON:
                self.rows.append(failure)

    @property
    def total(self) -> int:
        return self.counts.total()


def _rate(summary: ReportSummary) -> float | None:
    return summary.processed / summary.seconds if summary.processed and summary.seconds else None


def _groups(images: Iterator[ReportImage], size: int) -> Iterator[list[ReportImage]]:
    while group := list(islice(images, size)):
        yield group
