"""What a job's images hold beside a CPU, stage by stage, and whether the stages therefore run apart.

What is needed comes from the job's ``requires`` and from its extensions. Fused, an image holds what any stage needs,
from its decoding to its last file. Apart, Ray gives what nodes have (GPUs too) to the tasks of the stages that need it,
and takes it back between them; units of a provider stay with the whole shard, since no node knows them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from actors.resources.cluster_view import Node
from pipelines.analyses import ANALYSES
from pipelines.contracts import RESOURCES
from pipelines.operations import OPERATIONS
from pipelines.resource_needs import GPU
from pipelines.resources import ResourceEstimate
from rayjobs.job.job_spec import STAGES, JobSpec

Needs = Mapping[str, float]
"""Resource -> units that an image holds."""


def stage_needs(spec: JobSpec) -> dict[str, dict[str, float]]:
    """Stage -> what an image holds in it."""
    needs: dict[str, dict[str, float]] = {stage: {} for stage in STAGES}

    def add(stage: str, more: Needs) -> None:
        for name, units in more.items():
            needs[stage][name] = max(units, needs[stage].get(name, 0.0))

    for name, value in spec.requires.items():
        if isinstance(value, Mapping):
            add(name, value)
        else:
            for stage in _stages_of(name, spec):
                add(stage, {name: value})
    for operation in spec.operations:
        add("render", OPERATIONS[operation.name].requires)
    for request in spec.analyses:
        add("analyze", ANALYSES[request.name].requires)
    return needs


def chosen_stages(spec: JobSpec) -> Literal["staged", "fused"]:
    """How the job's stages run: as it says, or apart if that gives something free earlier."""
    if spec.stages != "auto":
        return spec.stages
    first, *others = ({n: u for n, u in needs.items() if n not in RESOURCES} for needs in stage_needs(spec).values())
    return "staged" if any(other != first for other in others) else "fused"


def required(spec: JobSpec) -> ResourceEstimate:
    """The most that an image holds at a time: a CPU, and what its stages need."""
    return _estimate(_most(stage_needs(spec)))


def held_per_cpu(spec: JobSpec) -> ResourceEstimate:
    """What a shard holds for each of its CPUs as long as it runs; Ray gives the rest to tasks of single stages."""
    needs = stage_needs(spec)
    most = _most(needs)
    if chosen_stages(spec) == "staged":
        most = {
            name: units
            for name, units in most.items()
            if name in RESOURCES or all(each.get(name) == units for each in needs.values())
        }
    return _estimate(most)


def most_at_once(needs: Needs, nodes: Sequence[Node]) -> int | None:
    """How many tasks with these needs all nodes together have room for; None: nothing but CPUs bounds them."""
    asked = {name: units for name, units in needs.items() if name not in RESOURCES}
    if not asked:
        return None
    return sum(int(min(node.total.get(name, 0.0) / units for name, units in asked.items())) for node in nodes) or 1


def _stages_of(name: str, spec: JobSpec) -> Sequence[str]:
    """Where an image holds what ``requires`` names without a stage.

    Nothing is exported by a GPU, and none of our own analyses uses one. What isn't said of anything else holds for all
    stages; where the job says that they run apart, for the first, as it always has been.
    """
    if name == GPU and any(isinstance(ANALYSES[request.name].version, str) for request in spec.analyses):  # plug-ins
        return ("render", "analyze")
    return ("render",) if name == GPU or spec.stages == "staged" else STAGES


def _most(needs: Mapping[str, Needs]) -> dict[str, float]:
    names = sorted({name for each in needs.values() for name in each})
    return {name: max(each.get(name, 0.0) for each in needs.values()) for name in names}


def _estimate(needs: Needs) -> ResourceEstimate:
    custom = {name: units for name, units in needs.items() if name != GPU}
    return ResourceEstimate(cpus=1, gpus=needs.get(GPU, 0.0), custom=custom)
