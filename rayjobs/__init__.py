"""Who asks: the job file, the plan, the run, the command line and the report.

    job.yaml -> JobSpec -> plan (sealed input list) -> run (shards on Ray) -> manifest -> report

Imports only go down: ``rayjobs -> actors -> pipelines``. ``plugins`` is what authors of plug-ins import, ``testing``
and its ``image_checks`` what they test with.
"""

from __future__ import annotations

import sys

if "rayjobs" in sys.orig_argv and sys.argv[:1] == ["-m"]:  # `python -m rayjobs` imports this first of all
    from rayjobs.command_line.program import drop_start_directory

    drop_start_directory()

from pipelines.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
