from __future__ import annotations

from typing import Any

import pytest

from greenflow_ray import config as configuration
from greenflow_ray.chains import ChainSpace, ModelCost, Stage
from greenflow_ray.config import UNRANKED, CascadeConfig
from greenflow_ray.errors import ConfigError
from greenflow_ray.serving.placement import FLOPS_PER_SECOND, MESSAGE_S, placed, seconds_by_flops, told

SECONDS = {"small": 0.99 * MESSAGE_S, "large": MESSAGE_S, "none": 0.0, "a": 1e-3, "b": 1.0}


def config(**serving: Any) -> CascadeConfig:
    stages = [
        {"name": "recall", "pool": [{"name": "small"}], "scales": "corpus"},
        {"name": "pre-ranking", "pool": [{"name": "large"}], "scales": [40]},
        {
            "name": "ranking",
            "pool": [{"name": "none", "factory": UNRANKED}, {"name": "a"}, {"name": "b"}],
            "scales": [20, 40],
        },
    ]
    return configuration.validated({"stages": stages, "serving": serving}, "test")


def lanes(reward: float = 1e-5, **serving: Any) -> set[str]:
    return {name for name, place in placed(config(**serving), SECONDS, reward).items() if place.lane}


def test_what_costs_less_than_its_message_sits_with_its_caller() -> None:
    assert lanes(place="auto") == {"small", "none", "allocator"}
    assert lanes(place="auto", reward=MESSAGE_S) == {"small", "none"}


def test_what_is_configured_holds() -> None:
    assert lanes(place="deployment") == set()
    assert lanes() == set()
    assert lanes(place="gateway") == {"small", "large", "none", "a", "b", "allocator"}
    assert lanes(place={"ranking": "gateway", "recall": "auto"}) == {"none", "a", "b", "small"}


def test_reasons_are_told() -> None:
    said = told(placed(config(place="auto"), SECONDS, 1e-5))
    assert said == [
        "small: in the gateways, 5 ms a request, less than a message's 5 ms",
        "large: a deployment, 5 ms a request, more than a message's 5 ms",
        "none: in the gateways, does no work",
        "a: a deployment, one of 2 instances between which the price shifts load",
        "b: a deployment, one of 2 instances between which the price shifts load",
        "allocator: in the gateways, 0.01 ms a request, less than a message's 5 ms",
    ]


def test_what_asks_for_a_gpu_is_a_deployment() -> None:
    models = {"small": {"gpus": 0.5}}
    assert "small" not in lanes(place="auto", models=models)
    with pytest.raises(ConfigError, match=r"serving\.place: model 'small' asks for 0\.5 GPUs .* set 'recall' to"):
        lanes(place="gateway", models=models)


def test_unknown_places_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"serving\.place: nothing is called 'rank'; use one of recall, .* allocator"):
        config(place={"rank": "auto"})
    with pytest.raises(ConfigError, match=r"serving\.place"):
        config(place="cloud")


@pytest.mark.parametrize("where", ["gateway", "deployment"])
def test_an_older_declaration_says_where_the_allocator_is(where: str) -> None:
    assert ("allocator" in lanes(allocate_in=where)) == (where == "gateway")


def test_flops_let_one_guess() -> None:
    space = ChainSpace(
        (Stage("a", (ModelCost("m", 10, 5),), (100,)), Stage("b", (ModelCost("n", 1, 0, (20,)),), (20, 40)))
    )
    assert seconds_by_flops(space) == {"m": 1005 / FLOPS_PER_SECOND, "n": 20 / FLOPS_PER_SECOND}
