"""Reading a job file: a text of YAML, as ``yaml_data`` takes it, whose values ``job_check`` checks."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pipelines.errors import JobError
from rayjobs.job.job_check import JobFileError, check_job
from rayjobs.job.job_spec import JobSpec
from rayjobs.job.yaml_data import YamlDataError, compose, construct, place, with_numbers_as_typed

MAX_BYTES = 1_000_000
NAMES = ("name", "inputs", "output")
"""Keys whose numbers are names: 007, and the folder of a year."""


def load_job(path: Path, *, base: Path | None = None) -> JobSpec:
    """Read and check a job file; ``base`` is what paths in it are relative to, its own directory unless given.

    Raises
    ------
    JobFileError
        With every mistake in it.
    JobError
        The file can't be read.
    """
    try:
        data = path.read_bytes() if path.stat().st_size <= MAX_BYTES else None
    except OSError as error:
        raise JobError(f"{path}: {error.strerror}; give the path of a job file (`rayjobs init` writes one)") from error
    if data is None:
        raise JobError(
            f"{path}: larger than {MAX_BYTES:,} bytes; long lists of inputs go into a file: inputs: [@list.txt]"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise JobError(f"{path}: not UTF-8 text (byte {error.start})") from error
    return parse_job(text, name=str(path), base=path.resolve().parent if base is None else base)


def parse_job(text: str, *, name: str = "job", base: Path = Path()) -> JobSpec:
    """The job in a text; ``name`` is what messages call it, ``base`` what paths in it are relative to."""
    try:
        root = compose(text)
    except YamlDataError as error:
        raise JobFileError(f"{name}:{error}") from error
    raw, misread = construct(root)
    raw = with_numbers_as_typed(root, raw, NAMES)
    return check_job(raw, name=name, base=base, misread=misread, place=partial(place, root))
