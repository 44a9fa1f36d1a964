"""Which files of a walk are results of jobs, and so no inputs.

Results of the job itself never are. Those of another job aren't either when the walk comes upon its output, from above
or at its root; a walk that starts further inside means them. A job may have put results beside sources elsewhere: as
soon as a walk finds its output they are left out, and those that were taken before are ``withdrawn``.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pipelines.tables.cells import readable_path
from rayjobs.inputs.found_outputs import FoundOutputs

CONTROL = b".rayjobs"
"""A directory of this name makes the one in which it lies an output."""


@dataclass(frozen=True, slots=True)
class Zone:
    """The outputs in which one directory of a walk lies."""

    outputs: tuple[tuple[bytes, bytes], ...] = ()
    """(root, what comes before a name here to make it relative to that root) of each that the walk came upon."""
    own_prefix: bytes | None = None
    """The same for the output of the job itself; None where no result of it can be."""


@dataclass(frozen=True, slots=True)
class _Walked:
    """A tree that is, or was, searched."""

    root: bytes
    real: bytes
    takes: Callable[[bytes], bool]
    """Whether it takes a file, by its path below the root."""


class LeftOutResults:
    """Tells results from inputs, over all walks of a job.

    Every method may raise a JobError: an output whose results can't be told.
    """

    def __init__(self, outputs: FoundOutputs) -> None:
        self._outputs = outputs
        self._walked: list[_Walked] = []
        self._found: dict[bytes, bool] = {}
        """Output -> whether results of it lie elsewhere."""
        self.counts: Counter[str] = Counter()
        """Output, readable -> files that would have been inputs."""
        self.withdrawn: set[bytes] = set()
        """Files, as the walks name them, that are results although a walk may have taken them."""

    def start(self, root: bytes, real: bytes, takes: Callable[[bytes], bool]) -> None:
        """A walk begins; ``real`` is its root without links."""
        walked = _Walked(root, real, takes)
        self._walked.append(walked)
        for output, reaches_out in self._found.items():
            if reaches_out:
                self._withdraw(output, [walked])

    def enter(self, path: bytes, real: bytes, above: Zone | None) -> Zone:
        """The zone of a directory; ``above`` is the one of the directory in which it lies, if it isn't a root."""
        name = os.path.basename(real)
        outputs = () if above is None else tuple((root, prefix + name + b"/") for root, prefix in above.outputs)
        if real != self._outputs.own and _is_output(path):
            outputs = (*outputs, (real, b""))
            if real not in self._found:
                self._found[real] = self._withdraw(real, self._walked)
        return Zone(outputs, self._outputs.own_prefix(real))

    def takes(self, zone: Zone, path: bytes, *, counted: bool) -> bool:
        """Whether a file is a result; ``counted`` if it would be an input else."""
        if path in self.withdrawn:
            return True
        if not zone.outputs and zone.own_prefix is None:
            return False
        name = os.path.basename(path)
        candidates = zone.outputs
        if zone.own_prefix is not None and self._outputs.own is not None:
            candidates = ((self._outputs.own, zone.own_prefix), *candidates)
        return any(self._owns(root, prefix + name, counted) for root, prefix in candidates)

    def takes_target(self, target: bytes, real_root: bytes) -> bool:
        """Whether a file that a link leads to, without links and below the root of the walk, is a result."""
        if self._outputs.own is not None and self._outputs.is_own(target):
            return self._count(self._outputs.own)
        directory, relative = os.path.split(target)
        while len(directory) >= len(real_root):
            if _is_output(directory) and self._owns(directory, relative, counted=True):
                return True
            directory, name = os.path.split(directory)
            relative = name + b"/" + relative
            if not name:
                break
        return False

    def _owns(self, root: bytes, relative: bytes, counted: bool) -> bool:
        if not self._outputs.at(root).owns(relative):
            return False
        return self._count(root) if counted else True

    def _count(self, root: bytes) -> bool:
        self.counts[readable_path(root)] += 1
        return True

    def _withdraw(self, output: bytes, walks: Iterable[_Walked]) -> bool:
        """Leave out what a job has put beside sources in some trees; whether it has put anything anywhere."""
        any_outside = False
        for file in self._outputs.at(output).outside():
            any_outside = True
            for walked in walks:
                if not file.startswith(walked.real.rstrip(b"/") + b"/"):
                    continue
                relative = file[len(walked.real) :].lstrip(b"/")
                path = os.path.join(walked.root, relative)
                if path not in self.withdrawn and walked.takes(relative) and os.path.lexists(path):
                    self.withdrawn.add(path)
                    self._count(output)
        return any_outside


def _is_output(directory: bytes) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(os.path.join(directory, CONTROL)).st_mode)
    except OSError:
        return False
