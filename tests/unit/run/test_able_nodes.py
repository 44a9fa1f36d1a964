"""When no node is left that could run an image, and when one is only on its way."""

from __future__ import annotations

from actors.resources.cluster_view import Node, able_nodes
from pipelines.resources import ResourceEstimate
from rayjobs.run.able_nodes import NODES_S, AbleNodes

SEATED = ResourceEstimate(cpus=1, custom={"seat": 1})
SEAT = Node(name="a", total={"cpu": 2, "seat": 1})
PLAIN = Node(name="b", total={"cpu": 8})
FULL = Node(name="c", total={"seat": 4})


def test_only_nodes_that_have_everything_are_able() -> None:
    assert able_nodes([PLAIN, SEAT, FULL], SEATED) == [SEAT]


def test_a_resource_whose_only_node_died_ends_the_job_with_its_name_but_not_at_once() -> None:
    nodes = AbleNodes(SEATED)
    assert nodes.missing([PLAIN, SEAT], 0.0) is None
    assert nodes.missing([PLAIN], 10.0) is None
    assert nodes.missing([PLAIN], 10.0 + NODES_S) is None
    why = nodes.missing([PLAIN], 11.0 + NODES_S)
    assert why is not None
    assert "asks for 1 of 'seat'" in why


def test_one_that_comes_back_in_time_makes_it_good() -> None:
    nodes = AbleNodes(SEATED)
    assert nodes.missing([FULL, PLAIN], 0.0) is None
    assert nodes.missing([SEAT], NODES_S) is None
    assert nodes.missing([PLAIN], NODES_S + 1) is None
    assert nodes.missing([], 2 * NODES_S) is None
    assert nodes.missing([], 2 * NODES_S + 2) is not None
