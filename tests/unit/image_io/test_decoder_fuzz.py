"""No changed file crashes a decoder, holds it up, or is decoded in two ways.

Each mutant is decoded in two processes over memory full of different bytes: what isn't filled differs.
``RAYJOBS_FUZZ_MUTANTS`` sets how many are tried (``make fuzz-decoders`` tries many, new ones each time),
``RAYJOBS_FUZZ_SEED`` which.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing

import numpy as np
import pytest

from tests.decoder_samples import SAMPLES
from tests.decoding_process import Poisoned, outcome
from tests.mutants import Mutant, mutant

MANY = "RAYJOBS_FUZZ_MUTANTS" in os.environ
MUTANTS = int(os.environ.get("RAYJOBS_FUZZ_MUTANTS", "6000"))
SEED = int(os.environ.get("RAYJOBS_FUZZ_SEED") or (random.randrange(1 << 32) if MANY else 1))
"""CI tries the same share each time."""
BYTES = (0x2B, 0xC4)
"""What the memory of the two processes is full of."""
_AHEAD = 16
"""Files that a process may have before it; more could fill its pipe."""


@pytest.fixture(scope="module")
def samples() -> dict[str, bytes]:
    return {name: maker() for name, maker in SAMPLES.items()}


def test_every_sample_is_decoded(samples: dict[str, bytes]) -> None:
    refused = {name: said for name, data in samples.items() if not (said := outcome(data)).startswith("pixels")}
    assert not refused


def test_unfilled_memory_would_be_seen(samples: dict[str, bytes]) -> None:
    """The processes really start from different memory, in numpy's small blocks and in large ones."""
    script = (
        "import sys, numpy as np; from tests.decoding_process import poison;"
        "used = [np.zeros(size, np.uint8) for size in (24, 803)]; del used; poison(int(sys.argv[1]));"
        "print([hash(np.empty(size, np.uint8).tobytes()) for size in (24, 803, 5000, 2_000_000)])"
    )
    seen = [
        subprocess.run(
            [sys.executable, "-c", script, str(byte)],
            env={
                **os.environ,
                "MALLOC_PERTURB_": str(byte),
                "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
                "PYTHONHASHSEED": "0",
            },
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for byte in BYTES
    ]
    first, second = (np.array(json.loads(text)) for text in seen)
    assert (first != second).all()


@pytest.mark.timeout(86_400 if MANY else 600)
def test_no_mutant_crashes_hangs_or_is_decoded_in_two_ways(
    samples: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        sys.stdout.write(f"\nRAYJOBS_FUZZ_SEED={SEED} RAYJOBS_FUZZ_MUTANTS={MUTANTS}\n")
    counted: Counter[str] = Counter()
    wrong: list[str] = []
    for tried, first, second in _decoded_twice(mutant(samples, SEED, number) for number in range(MUTANTS)):
        counted["accepted" if first and first.startswith("pixels") else "refused"] += 1
        if first != second or first is None or "WRONG" in first:
            wrong.append(f"{tried.name}, {tried.change}: {first} / {second}\n    {tried.data.hex()}")
    assert not wrong, f"seed {SEED}: {len(wrong)} of {dict(counted)}\n" + "\n".join(wrong[:20])
    assert counted["accepted"] > MUTANTS // 20


def _decoded_twice(mutants: Iterator[Mutant]) -> Iterator[tuple[Mutant, str | None, str | None]]:
    """Each with what the two processes said of it: None for one that ended or took too long; they are begun anew."""
    with ExitStack() as stack:
        pair = [stack.enter_context(closing(Poisoned(byte))) for byte in BYTES]
        while batch := list(itertools.islice(mutants, _AHEAD)):
            for one in batch:
                for process in pair:
                    process.give(one.data)
            for at, one in enumerate(batch):
                said = [process.said() for process in pair]
                yield one, said[0], said[1]
                if None in said:
                    for process in pair:
                        process.close()
                    pair = [stack.enter_context(closing(Poisoned(byte))) for byte in BYTES]
                    for later in batch[at + 1 :]:
                        for process in pair:
                            process.give(later.data)
