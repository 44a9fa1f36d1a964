"""A user's files and a job over them, in any order of events: nothing of the user's is lost, and every row is true.

Real directories and the program's own decisions, without Ray. ``RAYJOBS_CUSTODY_EXAMPLES`` sets how many histories are
tried: a share in each run of the tests, 2,000 by ``make test-custody``.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from PIL import Image

from pipelines.errors import JobError
from pipelines.models import ImageStatus
from rayjobs.job.job_state import JobState
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.results.pruning import prune
from rayjobs.results.published import verify
from rayjobs.run.planning import planned_elsewhere
from rayjobs.run.run_end import RunEnd
from tests.quick_runs import Killed, request, run_here
from tests.runs import manifest

EXAMPLES = int(os.environ.get("RAYJOBS_CUSTODY_EXAMPLES", "60"))

STEMS = ("a", "b", "a-2", "look")
DIRECTORIES = (
    "in",
    "in/sub",
    "in/images",
    "out/images",
    "images",
    "other",
    "out/data",
    "data",
    "out/charts/statistics",
)
NAMES = st.builds(
    lambda d, s, e: f"{d}/{s}.{e}",
    st.sampled_from(DIRECTORIES),
    st.sampled_from(STEMS),
    st.sampled_from(["png", "jpg"]),
)
FIXED = st.sampled_from(
    [
        "out/manifest.parquet",
        "out/job.json",
        "out/data/analyses.parquet",
        "out/report/index.html",
        "data/analyses.csv",
        "job.json",
        "in/manifest.parquet",
        "out/report/mine.html",
        "data/labels.csv",
    ]
)

JOBS = st.fixed_dictionaries(
    {
        "output": st.sampled_from(["out", ".", "in", "in/sub", "in/deep/out"]),
        "inputs": st.sampled_from(
            [["in/"], ["."], ["in/**/*.png", "other/*"], ["in/", "other/"], ["in/a.png", "in/sub/"]]
        ),
        "exclude": st.sampled_from([[], ["b.*"], ["sub"]]),
        "operations": st.sampled_from([[], ["invert"]]),
        "analyses": st.sampled_from([["statistics"], ["statistics", "sharpness"], ["luma_waveform"]]),
        "export": st.fixed_dictionaries(
            {
                "images": st.one_of(
                    st.just(False),
                    st.fixed_dictionaries(
                        {
                            "format": st.sampled_from(["png", "jpeg"]),
                            "layout": st.sampled_from(["mirror", "flat", "beside"]),
                            "name": st.sampled_from(["{stem}", "{stem}_look", "{index}"]),
                            "on_conflict": st.sampled_from(["rename", "skip", "overwrite", "error"]),
                        }
                    ).filter(lambda images: (images["layout"], images["on_conflict"]) != ("beside", "overwrite")),
                ),
                "data": st.sampled_from([["parquet"], ["csv"]]),
                "charts": st.booleans(),
            }
        ),
    }
)


def picture(level: int, suffix: str) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (6 + level % 3, 5), (level, 255 - level, 90)).save(data, "PNG" if suffix == ".png" else "JPEG")
    return data.getvalue()


class Histories(RuleBasedStateMachine):
    """``mine`` is what the user has, as far as nobody was told to replace it."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(os.path.realpath(tempfile.mkdtemp(prefix="rayjobs-custody-")))
        self.home = tempfile.mkdtemp(prefix="rayjobs-home-")
        os.environ["RAYJOBS_HOME"] = self.home
        self.mine: dict[str, bytes] = {}
        self.written: set[str] = set()
        """Paths at which a run has put a file, and the user none since."""
        self.away: dict[str, bytes] = {}
        self.job: dict[str, Any] = {}
        self.links: dict[str, str] = {}
        self.results_away = ""
        self.aside = self.base.with_name(f"{self.base.name}-aside")

    def teardown(self) -> None:
        shutil.rmtree(self.base, ignore_errors=True)
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.rmtree(self.aside, ignore_errors=True)

    # ---- the user ----------------------------------------------------------------------------------------------------

    @initialize(job=JOBS, names=st.lists(NAMES, min_size=1, max_size=5, unique=True), fixed=st.lists(FIXED, max_size=1))
    def begin(self, job: dict[str, Any], names: list[str], fixed: list[str]) -> None:
        self.job = job
        for number, name in enumerate(["in/a.png", *names]):
            self.put(name, picture(number * 17, os.path.splitext(name)[1]))
        for name in fixed:
            self.put(name, b"mine")

    def put(self, name: str, data: bytes) -> None:
        """The user writes a file, whatever was there."""
        path = self.base / name
        if path.is_dir() or any(parent.is_file() for parent in path.parents):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self.links.pop(name, None)
        path.write_bytes(data)
        self.mine[name] = data
        self.written.discard(name)

    @rule(name=st.one_of(NAMES, FIXED), level=st.integers(0, 255))
    def add_or_edit(self, name: str, level: int) -> None:
        suffix = os.path.splitext(name)[1]
        self.put(name, picture(level, suffix) if suffix in (".png", ".jpg") else b"mine %d" % level)

    @precondition(lambda self: self.files())
    @rule(data=st.data(), level=st.integers(0, 255))
    def edit_any(self, data: st.DataObject, level: int) -> None:
        """A file of the user's, or a result that becomes the user's by it."""
        name = data.draw(st.sampled_from(self.files()))
        self.put(name, b"edited %d" % level)

    @precondition(lambda self: self.files())
    @rule(data=st.data())
    def remove_any(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.files()))
        (self.base / name).unlink()
        self.mine.pop(name, None)

    @precondition(lambda self: self.results())
    @rule(data=st.data(), keep=st.integers(0, 60))
    def damage_a_result(self, data: st.DataObject, keep: int) -> None:
        path = self.base / data.draw(st.sampled_from(self.results()))
        whole = path.read_bytes()
        path.unlink()
        path.write_bytes(whole[:keep])

    @precondition(lambda self: not self.away and any(name.startswith("in/") for name in self.mine))
    @rule(data=st.data())
    def move_away(self, data: st.DataObject) -> None:
        for name in data.draw(
            st.lists(st.sampled_from(sorted(n for n in self.mine if n.startswith("in/"))), max_size=3, unique=True)
        ):
            (self.base / name).rename(self.base.parent / f"{self.base.name}-away-{len(self.away)}")
            self.away[name] = self.mine.pop(name)

    @precondition(lambda self: self.away)
    @rule()
    def move_back(self) -> None:
        for number, name in enumerate(self.away):
            away = self.base.parent / f"{self.base.name}-away-{number}"
            if not os.path.lexists(self.base / name) and (self.base / name).parent.is_dir():
                away.rename(self.base / name)
                self.mine[name] = self.away[name]
                self.written.discard(name)
            else:
                away.unlink()
        self.away = {}

    @rule(name=NAMES, data=st.data())
    def link(self, name: str, data: st.DataObject) -> None:
        """The user puts a link where a file could be, to a file or a directory of his or to nothing."""
        path = self.base / name
        if os.path.lexists(path) or any(parent.is_file() for parent in path.parents):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        targets = [self.base / "nowhere", self.base / "in", *(self.base / mine for mine in self.mine)]
        path.symlink_to(data.draw(st.sampled_from(targets)))
        self.links[name] = os.readlink(path)

    @precondition(lambda self: not self.results_away and any(path.is_dir() for path in self.directories()))
    @rule(data=st.data())
    def results_vanish(self, data: st.DataObject) -> None:
        """A directory of results is moved away; a user's files in it stay the user's."""
        path = data.draw(st.sampled_from([path for path in self.directories() if path.is_dir()]))
        inside = {name for name in self.mine if (self.base / name).is_relative_to(path)}
        if inside or any((self.base / name).is_relative_to(path) for name in self.links):
            return
        self.results_away = str(path)
        path.rename(self.aside)

    @precondition(lambda self: self.results_away)
    @rule()
    def results_return(self) -> None:
        path = Path(self.results_away)
        self.results_away = ""
        if os.path.lexists(path) or not path.parent.is_dir():
            shutil.rmtree(self.aside)
        else:
            self.aside.rename(path)

    @rule()
    def interrupt(self) -> None:
        """A signal comes when the job is planned and nothing has begun."""
        self.attempt(interrupted=True)

    @rule(job=JOBS)
    def change_the_job(self, job: dict[str, Any]) -> None:
        """In the same output: what another job put beside sources is known only where its output is come upon."""
        self.job = {**job, "output": self.job["output"]}

    # ---- the program -------------------------------------------------------------------------------------------------

    @rule()
    def run(self) -> None:
        state = self.attempt()
        if state is None:
            return
        self.rows_are_true()
        assert verify(self.output, deep=True) == []
        before = self.tree()
        again = self.attempt()
        assert again is not None
        assert again.unchanged
        assert self.tree() == before

    @rule(after=st.integers(1, 3))
    def kill(self, after: int) -> None:
        count = 0

        def end(row: ImageStatus) -> None:
            nonlocal count
            count += 1
            if count == after:
                raise Killed

        self.attempt(after=end)

    @rule(end=st.sampled_from([RunEnd.CANCELLED, RunEnd.PAUSED, RunEnd.INTERRUPTED]))
    def stop(self, end: RunEnd) -> None:
        self.attempt(end=end)

    @rule()
    def plan(self) -> None:
        before = self.tree(hidden=True)
        with suppress(JobError), planned_elsewhere(request(self.base, self.job)):
            """It is planned, and that is all."""
        assert self.tree(hidden=True) == before

    @rule(yes=st.booleans())
    def prune(self, yes: bool) -> None:
        if not self.output.exists:
            return
        before = self.tree()
        try:
            prune(self.output, remove_them=yes)
        except JobError:
            assert self.tree() == before
        if not yes:
            assert self.tree() == before

    def attempt(self, **options: Any) -> JobState | None:
        """A run; None when it was refused or ended before its end."""
        before = self.tree()
        overwritten: set[str] = set()
        state = None
        with suppress(JobError, Killed):
            state = run_here(request(self.base, self.job), **options)
        after = self.tree()
        images = self.job["export"]["images"]
        if images and images["on_conflict"] == "overwrite":
            top = os.path.normpath(f"{self.job['output']}/images") + "/"
            overwritten = {name for name in self.mine if name.startswith(top) and name not in self.inputs(state)}
        for name in [name for name in overwritten if after.get(name) not in (None, self.mine[name])]:
            del self.mine[name]
        self.written |= {name for name in after if after[name] != before.get(name)}
        return state if state is not None and not options else None

    # ---- what holds always -------------------------------------------------------------------------------------------

    @invariant()
    def every_byte_of_the_user_is_there(self) -> None:
        for name, data in self.mine.items():
            path = self.base / name
            assert path.is_file(), f"{name} is gone"
            assert path.read_bytes() == data, f"{name} was changed"
        for name, target in self.links.items():
            assert os.readlink(self.base / name) == target

    def rows_are_true(self) -> None:
        output = self.output.root
        for row in manifest(output):
            name = os.path.relpath(os.fsdecode(row["input_bytes"]), self.base)
            assert name not in self.written, f"{name} is a result, and became an input"
            if row["status"] == "done":
                assert name in self.mine or name in self.links
                self.is_complete(row)
            else:
                assert row["reason"]
            for each in row["outputs"]:
                data = (output / each["path"]).read_bytes()
                assert hashlib.sha256(data).hexdigest() == each["sha256"]
                assert os.path.relpath(os.path.normpath(output / each["path"]), self.base) not in self.mine

    def is_complete(self, row: dict[str, Any]) -> None:
        """A done row has every file that the job asks for."""
        export = self.job["export"]
        # not every path below charts/: an image may lie there as well, beside a source that somebody put there
        charts = [each for each in row["outputs"] if each["path"].startswith("charts/luma_waveform/")]
        assert len(row["outputs"]) - len(charts) == bool(export["images"])
        assert len(charts) == (export["charts"] and self.job["analyses"] == ["luma_waveform"])

    def directories(self) -> list[Path]:
        return [self.output.root / name for name in ("images", "charts", "data", "report")]

    @property
    def output(self) -> OutputDirectory:
        return OutputDirectory(Path(os.path.normpath(self.base / self.job["output"])))

    def inputs(self, state: JobState | None) -> set[str]:
        if state is None or not self.output.manifest.exists():
            return set()
        return {os.path.relpath(os.fsdecode(row["input_bytes"]), self.base) for row in manifest(self.output.root)}

    def tree(self, *, hidden: bool = False) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.base)): path.read_bytes()
            for path in sorted(self.base.rglob("*"))
            if path.is_file() and not path.is_symlink() and (hidden or ".rayjobs" not in path.parts)
        }

    def files(self) -> list[str]:
        return sorted(self.tree())

    def results(self) -> list[str]:
        return sorted(set(self.tree()) - set(self.mine))


Histories.TestCase.settings = settings(
    max_examples=EXAMPLES,
    derandomize="RAYJOBS_CUSTODY_EXAMPLES" not in os.environ,  # the share is the same each time; the many are new ones
    stateful_step_count=10,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.timeout(60 * EXAMPLES)
class TestHistories(Histories.TestCase):
    """Any history of a user and a job."""
