"""Holds the code to the instructions that it took when they were last recorded: ``make guard``.

    python -m benchmarks.guard               # exit code 1: something takes more than 3 % more
    python -m benchmarks.guard --record      # on purpose: the numbers as they are now become those to compare with

Instructions don't depend on what else the machine does, nor on its processor as long as it has AVX2: kernels are
compiled for one, and valgrind shows libraries one (an EPYC and a Xeon differ by 0.3 %). Numbers of other versions
aren't compared. They tell nothing of memory, disk and waiting: those are the figures of ``python -m benchmarks``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from benchmarks.callgrind import counted, valgrind_version
from benchmarks.figures import rounded, say
from benchmarks.instructions import UNITS
from benchmarks.photographs import CACHE

RECORD = Path(__file__).with_name("instructions.json")
TOLERANCE = 0.03
RENEW = "if that is meant, record it with `make guard-record` and say why in the commit"
PACKAGES = ("numpy", "opencv-python-headless", "numba", "llvmlite", "scipy", "pydantic")
PROCESSOR = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi,+bmi2,+lzcnt,+popcnt,+f16c"}
"""What kernels are compiled for: valgrind knows its instructions, and every machine compiles the same."""
EXIT_GROWN, EXIT_UNCOUNTED = 1, 2


class UncountableError(Exception):
    """Why instructions can't be counted or compared here."""


def main(argv: Sequence[str] | None = None) -> int:
    """Count, compare or record, and say what grew."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard", description="Count instructions.")
    parser.add_argument("--record", action="store_true", help=f"keep them in {RECORD.name}")
    arguments = parser.parse_args(argv)
    try:
        if arguments.record:
            counts = count()
            RECORD.write_text(
                json.dumps({"versions": versions(), "per_unit": counts}, indent=1) + "\n", encoding="utf-8"
            )
            return 0
        recorded = record()
        grown = complaints(recorded, count())
    except UncountableError as error:
        say(str(error))
        return EXIT_UNCOUNTED
    print("\n".join(grown) or f"{len(recorded)} counts are within {TOLERANCE:.0%} of those recorded")
    return EXIT_GROWN if grown else 0


def versions() -> dict[str, str]:
    """All that the numbers depend on beside the code.

    Raises
    ------
    UncountableError
        valgrind isn't there.
    """
    valgrind = valgrind_version()
    if valgrind is None or platform.machine() != "x86_64":
        raise UncountableError(
            "valgrind isn't installed (`make tools`), or this is no x86-64: instructions aren't counted"
        )
    python = f"{platform.python_version()}, {platform.python_compiler()}"
    return {
        "valgrind": valgrind,
        "python": python,
        **{name: metadata.version(name) for name in PACKAGES},
    }


def record() -> dict[str, float]:
    """The recorded instructions per unit, by piece.

    Raises
    ------
    UncountableError
        They are of other versions than those here.
    """
    known = json.loads(RECORD.read_text(encoding="utf-8"))
    here = versions()
    others = [
        f"{name} {was} (here {here.get(name)})" for name, was in known["versions"].items() if here.get(name) != was
    ]
    if others:
        raise UncountableError(
            f"instructions were recorded with {', '.join(others)}; record them anew: `make guard-record`"
        )
    per_unit: dict[str, float] = known["per_unit"]
    return per_unit


def count() -> dict[str, float]:
    """Instructions per unit of each piece.

    Raises
    ------
    UncountableError
        valgrind isn't there.
    """
    versions()
    CACHE.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **PROCESSOR, "PYTHONHASHSEED": "0", "NUMBA_CACHE_DIR": str(CACHE / "kernels")}
    module = "benchmarks.instructions"
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        scratch = Path(directory)
        (scratch / "compiling").mkdir()
        compiling = [sys.executable, "-m", module, str(scratch / "compiling")]
        subprocess.run(compiling, env=environment, check=True)
        found = counted(module, [str(scratch)], scratch=scratch, environment=environment)
    return {name: rounded(found[name] / number) for name, (number, _) in UNITS.items()}


def complaints(recorded: Mapping[str, float], found: Mapping[str, float]) -> list[str]:
    """What takes more than it may, and what isn't recorded."""
    said = []
    for name, value in found.items():
        was, unit = recorded.get(name), UNITS[name][1]
        if was is None:
            said.append(f"{name}: not recorded yet; do so with `make guard-record`")
        elif value > was * (1 + TOLERANCE):
            said.append(f"{name}: {value:,g} instructions per {unit}, {value / was - 1:+.1%} of {was:,g}; {RENEW}")
    return said


if __name__ == "__main__":
    sys.exit(main())
