"""Measure figures of the design and print a JSON line for each: ``python -m benchmarks P1 P2``.

Progress goes to standard error. Exit code 1 when a bar is missed, 2 when a figure can't be measured. See
``benchmarks/README.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, Scale, say
from benchmarks.photographs import CACHE
from pipelines.errors import RayjobsError

RESULTS = Path(__file__).with_name("results.json")
FIGURES = {
    "P1": "benchmarks.throughput:p1",
    "P2": "benchmarks.throughput:p2",
    "P3": "benchmarks.kernels:p3",
    "P4": "benchmarks.kernels:p4",
    "P5": "benchmarks.kernels:p5",
    "P6": "benchmarks.rerun:p6",
    "P7": "benchmarks.coordinator:p7",
    "P8": "benchmarks.coordinator:p8",
    "P9": "benchmarks.growth:p9",
    "P10": "benchmarks.interactive:p10",
    "P11": "benchmarks.whole_commands:p11",
    "P12": "benchmarks.whole_commands:p12",
    "P13": "benchmarks.whole_commands:p13",
    "P15": "benchmarks.report_page:p15",
    "P16": "benchmarks.opening_tables:p16",
}
"""Figure -> the function that measures it; imported when it is asked for."""
NOT_YET = {"P14": "not measured: inputs and outputs are files, not objects in buckets"}
"""Figures of the design that nothing measures, and why."""
EXIT_UNMEASURED = 2
PACKAGES = (
    *("ray", "numpy", "opencv-python-headless", "numba", "pyarrow", "pandas"),
    *("scikit-image", "pyvips", "matplotlib", "daft"),
)
"""Whose versions are recorded: ours, and those that we are compared with."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and say by the exit code whether all bars are met."""
    arguments = _parser().parse_args(argv)
    names = arguments.figures or list(FIGURES)
    CACHE.mkdir(parents=True, exist_ok=True)
    lines = []
    for name in names:
        say(f"{name} ...")
        scratch = Path(tempfile.mkdtemp(prefix="run-", dir=arguments.scratch or CACHE))
        scale = Scale(images=arguments.images, repeat=arguments.repeat, workers=arguments.workers, scratch=scratch)
        try:
            figure = measurer(name)(scale)
        except RayjobsError as error:
            say(f"{name} can't be measured: {error}")
            return EXIT_UNMEASURED
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        print(figure.to_line(), flush=True)
        lines.append(figure.to_json())
    if arguments.record:
        sizes = {name: getattr(arguments, name) for name in ("images", "repeat", "workers")}
        record(lines, {**sizes, "machine": machine()}, arguments.record)
    return 0 if all(line["ok"] for line in lines) else 1


def measurer(name: str) -> Callable[[Scale], Figure]:
    """The function behind a figure's name."""
    module, _, function = FIGURES[name].partition(":")
    found: Callable[[Scale], Figure] = getattr(import_module(module), function)
    return found


def record(lines: Sequence[Mapping[str, Any]], setting: Mapping[str, Any], path: Path) -> None:
    """Put figures into the file of results, in the place of earlier ones of the same name.

    What was measured the last time in the same setting (machine, packages, sizes) is kept beside the new values.
    """
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for line in lines:
        last = known.get(line["figure"], {})
        alike = bool(last) and all(last.get(name) == value for name, value in setting.items())
        before = {each["name"]: each["value"] for each in last.get("measures", [last])} if alike else {}
        known[line["figure"]] = {**line, **setting, "before": before}
    ordered = {name: known[name] for name in sorted(known, key=lambda name: int(name[1:]))}
    path.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """What the figures were measured on; says nothing of whose machine it is."""
    return {
        "cpus": os.cpu_count(),
        "processor": processor(),
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in PACKAGES if _installed(package)},
    }


def processor() -> str:
    """Its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure the figures of the design, side by side with what they beat."
    )
    parser.add_argument("figures", nargs="*", choices=FIGURES, metavar="P1", help="all unless named")
    parser.add_argument("--images", type=_positive, default=1000, help="photographs of the standard work (1000)")
    parser.add_argument("--repeat", type=_positive, default=3, help="turns of each side; medians count (3)")
    parser.add_argument("--workers", type=_positive, default=os.cpu_count() or 1, help="processes of each side (CPUs)")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="where outputs go meanwhile (.cache/benchmarks)")
    parser.add_argument(
        "--record", type=Path, nargs="?", const=RESULTS, metavar="FILE", help="keep the figures in results.json"
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}: must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
