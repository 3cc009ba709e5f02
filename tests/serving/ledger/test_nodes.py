"""The nodes' meters: here without an actor, elsewhere by one, and no window lost where an answer is late."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.exceptions import RayActorError

from greenflow_ray.config import EnergyConfig
from greenflow_ray.energy.metering.meter import EnergyWindow
from greenflow_ray.serving.ledger import nodes
from greenflow_ray.serving.ledger.nodes import NodeMeters

HERE, THERE = "here", "there"


def window(joules: float) -> EnergyWindow:
    return EnergyWindow(5.0, joules, joules, 0.0, 0.0, "estimated", "estimated", "replayed", 1.0)


class Own:
    """This process's meter."""

    made = closed = 0

    def __init__(self, config: EnergyConfig) -> None:
        Own.made += 1

    def read(self) -> EnergyWindow:
        return window(1.0)

    def close(self) -> None:
        Own.closed += 1


class Cluster:
    """Ray, as far as the meters need it; a call's answer lies in ``answers`` when it has come."""

    def __init__(self) -> None:
        self.nodes = [HERE, THERE]
        self.started: list[str] = []
        self.calls: list[int] = []
        self.answers: dict[int, Any] = {}

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Own, "made", 0)
        monkeypatch.setattr(Own, "closed", 0)
        monkeypatch.setattr(nodes, "LiveMeter", Own)
        monkeypatch.setattr(ray, "nodes", lambda: [{"NodeID": n, "Alive": True} for n in self.nodes])
        monkeypatch.setattr(ray, "wait", self._wait)
        monkeypatch.setattr(ray, "get", self._get)
        monkeypatch.setattr(NodeMeters, "_start", lambda _, node: self._start(node))

    def _start(self, node: str) -> Any:
        self.started.append(node)
        return SimpleNamespace(read=SimpleNamespace(remote=self._call))

    def _call(self) -> int:
        self.calls.append(len(self.calls))
        return self.calls[-1]

    def _wait(self, refs: list[int], **_: Any) -> tuple[list[int], list[int]]:
        return [r for r in refs if r in self.answers], [r for r in refs if r not in self.answers]

    def _get(self, ref: int) -> EnergyWindow:
        if isinstance(self.answers[ref], Exception):
            raise self.answers[ref]
        answer: EnergyWindow = self.answers[ref]
        return answer


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    found = Cluster()
    found.install(monkeypatch)
    return found


def test_one_machine_needs_no_actor(cluster: Cluster) -> None:
    cluster.nodes = [HERE]
    m = NodeMeters(EnergyConfig(), HERE)
    assert m.read() == m.read() == {HERE: window(1.0)}
    assert (cluster.started, Own.made) == ([], 1)
    m.close()
    assert Own.closed == 1


def test_a_late_answer_comes_with_the_next_window(cluster: Cluster) -> None:
    m = NodeMeters(EnergyConfig(), HERE)
    assert set(m.read()) == {HERE}
    assert set(m.read()) == {HERE}
    assert cluster.calls == [0]  # asked once: a second call would take what the first one's window holds
    cluster.answers[0] = window(7.0)
    assert m.read() == {HERE: window(1.0), THERE: window(7.0)}
    m.read()
    assert (cluster.calls, cluster.started) == ([0, 1], [THERE])


def test_a_meter_that_died_is_replaced_and_a_node_that_left_forgotten(cluster: Cluster) -> None:
    m = NodeMeters(EnergyConfig(), HERE)
    cluster.answers[0] = RayActorError()
    assert set(m.read()) == {HERE}
    cluster.answers[1] = window(3.0)
    assert m.read()[THERE] == window(3.0)
    assert cluster.started == [THERE, THERE]
    cluster.nodes = [HERE]
    assert set(m.read()) == {HERE}
    cluster.nodes = [HERE, THERE]
    m.read()
    assert cluster.started == [THERE] * 3
