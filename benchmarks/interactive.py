"""P10 as a figure like the others; what is measured is in ``p10_processor``."""

from __future__ import annotations

from benchmarks import p10_processor
from benchmarks.figures import Figure, Measure, Scale

FORM = {"figure", "value", "bar", "ok", "against"}


def p10(_scale: Scale) -> Figure:
    """Its size is fixed: 64 arrays in memory."""
    measures = [
        Measure(
            name=f"render_pipeline_batch against {row['against']}",
            value=row["value"],
            bar=row["bar"],
            detail={key: value for key, value in row.items() if key not in FORM},
        )
        for row in p10_processor.figure()
    ]
    return Figure("P10", measures)
