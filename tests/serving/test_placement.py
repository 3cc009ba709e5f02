from __future__ import annotations

from typing import Any

import pytest

from greenflow_ray import config as configuration
from greenflow_ray.chains import ChainSpace, ModelCost, Stage
from greenflow_ray.config import CascadeConfig
from greenflow_ray.errors import ConfigError
from greenflow_ray.serving.placement import MESSAGE_S, placed, told

FAST = 1e9
"""FLOP/s of a core that makes a FLOP a nanosecond."""


def config(**serving: Any) -> CascadeConfig:
    stages = [
        {"name": "recall", "pool": [{"name": "small"}], "scales": "corpus"},
        {"name": "pre-ranking", "pool": [{"name": "large"}], "scales": [40]},
        {"name": "ranking", "pool": [{"name": "none"}, {"name": "a"}, {"name": "b"}], "scales": [20, 40]},
    ]
    return configuration.validated({"stages": stages, "serving": serving}, "test")


def space() -> ChainSpace:
    message = int(MESSAGE_S * FAST)
    return ChainSpace(
        (
            Stage("recall", (ModelCost("small", 1, message - 101),), (100,)),
            Stage("pre-ranking", (ModelCost("large", 1, message),), (40,)),
            Stage("ranking", (ModelCost("none", 0, 0, (20,)), ModelCost("a", 1), ModelCost("b", 2)), (20, 40)),
        )
    )


def lanes(reward_flops: int = 10, **serving: Any) -> set[str]:
    return {name for name, place in placed(config(**serving), space(), reward_flops, FAST).items() if place.lane}


def test_what_costs_less_than_its_message_sits_with_its_caller() -> None:
    assert lanes(place="auto") == {"small", "none", "allocator"}
    assert lanes(place="auto", reward_flops=int(MESSAGE_S * FAST)) == {"small", "none"}


def test_what_is_configured_holds() -> None:
    assert lanes(place="deployment") == set()
    assert lanes() == set()
    assert lanes(place="gateway") == {"small", "large", "none", "a", "b", "allocator"}
    assert lanes(place={"ranking": "gateway", "recall": "auto"}) == {"none", "a", "b", "small"}


def test_reasons_are_told() -> None:
    said = told(placed(config(place="auto"), space(), 10, FAST))
    assert said == [
        "small: in the gateways, 5 ms a request, less than a message's 5 ms",
        "large: a deployment, 5 ms a request, more than a message's 5 ms",
        "none: in the gateways, does no work",
        "a: a deployment, one of 2 instances between which the price shifts load",
        "b: a deployment, one of 2 instances between which the price shifts load",
        "allocator: in the gateways, 1e-05 ms a request, less than a message's 5 ms",
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
