"""What a job's images hold beside a CPU, stage by stage, and whether the stages therefore run apart.

What is needed comes from the job's ``requires`` and from its extensions. Fused, an image holds what any stage needs,
from its decoding to its last file. Apart, the tasks of a stage hold what it needs, and give it back between them: what
nodes have (GPUs too) Ray gives to each, units of a provider the coordinator. What all stages need the shard holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from actors.resources.cluster_view import Node
from pipelines.analyses import ANALYSES
from pipelines.contracts import RESOURCES
from pipelines.operations import OPERATIONS
from pipelines.resource_needs import GPU
from pipelines.resources import ResourceEstimate
from rayjobs.job.job_spec import STAGES, JobSpec

FEW_INPUTS = 512
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
    first, *others = stage_needs(spec).values()
    return "staged" if any(other != first for other in others) else "fused"


def takes_ray_data(stages: str, inputs: int) -> bool:
    """Whether a stream of so many inputs runs on Ray Data, which takes longer to begin and end than a few to be done.

    Apart, only Ray Data runs stages side by side.
    """
    return stages != "fused" or inputs > FEW_INPUTS


def required(spec: JobSpec) -> ResourceEstimate:
    """The most that an image holds at a time: a CPU, and what its stages need."""
    return _estimate(_most(stage_needs(spec)))


def of_nodes(estimate: ResourceEstimate) -> ResourceEstimate:
    """What nodes are asked for; the rest is what providers offer."""
    return replace(estimate, custom=given_by_ray(estimate.custom))


def given_by_ray(needs: Needs) -> dict[str, float]:
    """What nodes declare; GPUs are asked for apart, and units of providers are the coordinator's to give."""
    return {name: units for name, units in needs.items() if name != GPU and name not in RESOURCES}


def held_per_cpu(spec: JobSpec) -> ResourceEstimate:
    """What a shard holds for each of its CPUs as long as it runs; tasks of single stages are given the rest."""
    needs = stage_needs(spec)
    most = _most(needs)
    if chosen_stages(spec) == "staged":
        most = {name: units for name, units in most.items() if all(each.get(name) == units for each in needs.values())}
    return _estimate(most)


def leased_units(spec: JobSpec) -> dict[str, dict[str, float]]:
    """Stage -> units of providers that its tasks hold by themselves, of those that do."""
    held = held_per_cpu(spec).custom
    leased = {
        stage: {name: units for name, units in needs.items() if name in RESOURCES and name not in held}
        for stage, needs in stage_needs(spec).items()
    }
    return {stage: units for stage, units in leased.items() if units}


def leased_at_once(spec: JobSpec) -> dict[str, float]:
    """The same for an image that goes through all stages in one task."""
    return _most(leased_units(spec))


def rendering_has_all(spec: JobSpec) -> bool:
    """Whether no later stage needs what rendering doesn't hold."""
    needs = stage_needs(spec)
    return all(units <= needs["render"].get(name, 0.0) for each in needs.values() for name, units in each.items())


def most_at_once(needs: Needs, nodes: Sequence[Node], units: Needs) -> int | None:
    """How many tasks with these needs there is room for at a time; None: nothing but CPUs bounds them.

    Parameters
    ----------
    needs
        Of each.
    nodes, units
        What there is: on all nodes together, and of providers.
    """
    on_nodes = {name: amount for name, amount in needs.items() if name not in RESOURCES}
    bounds = [int(units.get(name, 0.0) / amount) for name, amount in needs.items() if name in RESOURCES]
    if on_nodes:
        bounds.append(sum(int(min(node.total.get(n, 0.0) / u for n, u in on_nodes.items())) for node in nodes))
    return max(min(bounds), 1) if bounds else None


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
