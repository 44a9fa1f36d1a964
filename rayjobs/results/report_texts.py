"""What the report says in words: the few sentences that matter, outliers, what was done; for the page and its script.

Covers wording and links within the page. What is known: ``report_survey``; how it looks: ``templates/``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from pipelines.analyses import ANALYSES
from pipelines.analyses.registry import in_words
from pipelines.charts import ChartOptions
from pipelines.charts.layout import BOTTOM_PX, LEFT_PX, RIGHT_PX, TOP_PX
from pipelines.operations import OPERATIONS
from pipelines.quantity_texts import duration_text
from pipelines.registry import Parameters
from rayjobs.results.report_measures import CLIPPED_SHARE, Measure
from rayjobs.results.report_numbers import NEXT_TO_NOTHING, Distribution, Outlier, number_text, share_text
from rayjobs.results.report_rows import ReportGroups, ReportSummary
from rayjobs.results.report_survey import Survey

_CARD_CHARTS = ("rgb_parade", "luma_waveform", "color_histogram")
"""What a card shows of the charts, if anything."""
_ENGINES = ("fast", "matplotlib")
"""Those that lay a chart out alike."""
_VERY_FAR = 10.0
MAX_FINDINGS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """Something that matters, with the pictures that it is about."""

    text: str
    link: str = ""
    """Within the page; empty: it is about none."""
    tone: str = ""
    """``bad`` or ``warn``."""


def shown(**state: str) -> str:
    """The link to a choice of pictures."""
    return "#" + urlencode(state)


def sentences(summary: ReportSummary, survey: Survey, far: Sequence[Outlier]) -> Iterator[Sentence]:
    """What matters, worst first; one sentence when nothing does."""
    if summary.failed:
        causes = [(reason, n) for (status, reason), n in survey.reasons.most_common() if status == "failed"]
        counted = [f"{n:,} " * (len(causes) > 1) + reason.replace("_", " ") for reason, n in causes]
        named = ", ".join(counted[:4])
        more = "" if len(causes) <= 4 else f" and {len(causes) - 4} more causes"
        yield Sentence(text=f"{_inputs(summary.failed)} failed: {named}{more}.", link=shown(show="failed"), tone="bad")
    if survey.lesser:
        text = f"{_images(survey.lesser)} {_hold(survey.lesser)} less than {_its(survey.lesser)} promised."
        yield Sentence(text=text, link=shown(show="lesser"), tone="warn")
    if far:
        number = survey.unlike
        text = f"{_images(number)} {_are(number)} unlike the others of {_their(number)} kind"
        text += f"; these are the {len(far)} farthest." if number > len(far) else "."
        yield Sentence(text=text, link=shown(show="outliers"), tone="warn")
    if survey.twins:
        number = survey.twins.total()
        text = f"{_images(number)} look the same as another, in {len(survey.twins):,} group{_s(len(survey.twins))}."
        yield Sentence(text=text, link=shown(show="duplicates"))
    if survey.clipped:
        share = f"{CLIPPED_SHARE * 100:g} %"
        text = f"{_images(survey.clipped)} {_have(survey.clipped)} more than {share} of the luma clipped."
        yield Sentence(text=text, link=shown(show="clipped"))
    if survey.soft:
        text = f"{_images(survey.soft)} {_are(survey.soft)} far softer than the others of {_their(survey.soft)} kind."
        yield Sentence(text=text, link=shown(show="soft"))
    if not (summary.failed or survey.lesser or far or survey.twins or survey.clipped or survey.soft) and summary.done:
        yield Sentence(text="Nothing failed, and no image stands out.")


def page_values(
    summary: ReportSummary, survey: Survey, far: Sequence[Outlier], groups: ReportGroups | None
) -> dict[str, Any]:
    """What the template of the page needs."""
    rate = summary.processed / summary.seconds if summary.processed and summary.seconds else None
    return {
        "summary": summary,
        "duration": duration_text(summary.seconds) if summary.seconds is not None and summary.processed != 0 else None,
        "rate": rate,
        "sentences": list(sentences(summary, survey, far)),
        "operations": [(each.name, _own(each.params, OPERATIONS.get(each.name))) for each in summary.operations],
        "analyses": [(each.name, _own(each.params, ANALYSES.get(each.name))) for each in summary.analyses],
        "groups": groups,
        "root": survey.root,
    }


def facts_of(
    summary: ReportSummary, measures: Sequence[Measure], survey: Survey, far: Sequence[Outlier]
) -> dict[str, Any]:
    """What the page's script needs to know of the job as a whole, but for how data are laid out."""
    return {
        "total": survey.total,
        "root": survey.root or "",
        "changes": bool(summary.operations),
        "counts": {
            "done": summary.done,
            "failed": summary.failed,
            "skipped": summary.skipped,
            "outliers": len(far),
            "duplicates": survey.twins.total(),
            "clipped": survey.clipped,
            "soft": survey.soft,
            "lesser": survey.lesser,
        },
        "reasons": [[status[0], reason, survey.reasons[status, reason]] for status, reason in survey.reason_codes],
        "cells": survey.cells,
        "groups": [[name, list(texts)] for name, texts in survey.groups.items()],
        "charts": [[name, in_words(name)] for name in charts_in_order(survey, summary)],
        "cardCharts": [name for name in _CARD_CHARTS if name in survey.charted],
        "outliers": [[outlier.row, "; ".join(_findings(outlier, measures, survey))] for outlier in far],
        "table": next((file for file in summary.files if file.startswith("data/analyses.")), None),
    }


def charts_in_order(survey: Survey, summary: ReportSummary) -> list[str]:
    """The analyses with charts, in the job's order."""
    order = [each.name for each in summary.analyses]
    return sorted(survey.charted, key=lambda name: order.index(name) if name in order else len(order))


def chart_frame(charts: ChartOptions | None) -> list[float] | None:
    """Left, top, right and bottom of a chart that aren't its plot, as shares, and its width by height."""
    if charts is None or charts.engine not in _ENGINES:
        return None
    width, height = charts.width, charts.height
    return [LEFT_PX / width, TOP_PX / height, RIGHT_PX / width, BOTTOM_PX / height, width / height]


def _findings(outlier: Outlier, measures: Sequence[Measure], survey: Survey) -> Iterator[str]:
    """What is far about an image, in words."""
    known = survey.distributions[outlier.kind]
    found = zip(outlier.columns, outlier.values, outlier.scores, strict=True)
    for column, value, score in list(found)[:MAX_FINDINGS]:
        measure, like = measures[column], known[column]
        far = "far" if abs(score) < _VERY_FAR else "very far"
        of = f", the median of {_counted(like)} {outlier.kind} images" if column == outlier.columns[0] else ""
        yield (
            f"{measure.plain} {_value(value, measure)} is {far} {'above' if score > 0 else 'below'} "
            f"{_value(like.median, measure)}{of}"
        )


def _counted(like: Distribution) -> str:
    if not like.is_sample:
        return f"{like.count:,}"
    return f"about {round(like.count, 1 - len(str(like.count))):,} randomly chosen"


def _value(value: float, measure: Measure) -> str:
    value = 10**value if measure.is_log else value
    if measure.is_share:
        return share_text(value)
    unit = "" if measure.unit.startswith("level") else measure.unit  # as on the cards
    return f"{'+' * (measure.is_signed and value >= NEXT_TO_NOTHING)}{number_text(value)} {unit}".rstrip()


def _own(params: Mapping[str, Any], entry: Any) -> list[tuple[str, Any]]:
    """The parameters that aren't the defaults."""
    return [
        (name, value)
        for name, value in params.items()
        if value is not None and (entry is None or not _is_default(entry.parameters, name, value))
    ]


def _is_default(parameters: type[Parameters], name: str, value: Any) -> bool:
    field = parameters.model_fields.get(name)
    if field is None or field.is_required():
        return False
    return bool(_plain(field.get_default(call_default_factory=True)) == _plain(value))


def _plain(value: Any) -> Any:
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _inputs(number: int) -> str:
    return f"{number:,} input{_s(number)}"


def _images(number: int) -> str:
    return f"{number:,} image{_s(number)}"


def _s(number: int) -> str:
    return "" if number == 1 else "s"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _have(number: int) -> str:
    return "has" if number == 1 else "have"


def _hold(number: int) -> str:
    return "holds" if number == 1 else "hold"


def _its(number: int) -> str:
    return "its file" if number == 1 else "their files"


def _their(number: int) -> str:
    return "its" if number == 1 else "their"
