"""Where workers of a cluster are placed, as nodes come and go."""

import time
from typing import Any

import pytest
from clusters import Nodes

from petrieve.extractor.engines import crew
from petrieve.extractor.engines.cluster import joined
from petrieve.extractor.engines.worker import Facts, Job, versions
from petrieve.store.errors import PetrieveError


def test_each_gpu_has_one_worker_and_nodes_that_come_get_theirs(
    cluster: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The GPUs are made up, and so is what would compute on them."""
    there = versions()

    class Placed:
        def __init__(self, *words: Any) -> None:
            pass

        def facts(self) -> Facts:
            import ray

            node = ray.get_runtime_context().get_node_id()
            return Facts(node, "here", str(ray.get_gpu_ids()), "float32", there, ())

        def load(self, precision: str) -> None:
            pass

    monkeypatch.setattr(crew, "Worker", Placed)
    monkeypatch.setattr(crew, "LOOK", 0.5)
    job: Any = Job("s", (), {}, None, None, "cuda", False)  # type: ignore[arg-type]
    with joined("ray"):
        assert crew.device("auto", None) == "cpu"
        with pytest.raises(PetrieveError, match="has no GPU"):
            crew.device("cuda", None)
        assert crew.device("cuda", 2) == "cuda"  # which are asked for
        added = [cluster.add(num_gpus=2, num_cpus=3)]
        assert crew.device("auto", None) == "cuda"
        assert [slot.cores for slot in crew.slots("cuda")] == [1, 2]
        said: list[str] = []
        team = crew.Crew(job, [], "auto", None, said.append)
        assert placed(team, 2) == {(added[0].node_id, "[0]"), (added[0].node_id, "[1]")}
        added.append(cluster.add(num_gpus=2, num_cpus=2))
        assert placed(team, 4) == {(node.node_id, gpu) for node in added for gpu in ("[0]", "[1]")}
        assert said == ["1 node, 2 workers (1 × [0], 1 × [1]), float32"]
        for hand in team.hands:
            team.let_go(hand)
        for node in added:
            cluster.ray.remove_node(node)


def placed(team: crew.Crew, count: int) -> set[tuple[str, str]]:
    """Node and GPU of each worker, once so many are ready."""
    until = time.monotonic() + 60
    while sum(hand.ready for hand in team.hands) < count and time.monotonic() < until:
        team.hire()
        assert not list(team.heard())
    team.hire()  # which says what there is
    return {(hand.facts.node, hand.facts.hardware) for hand in team.hands if hand.facts}
