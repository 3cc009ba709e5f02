from __future__ import annotations

import socket
from pathlib import Path

import pytest
import ray

from greenflow_ray.errors import ConfigError, DataError, PortInUse, ResourceProblem
from greenflow_ray.serving.app import build, check, read_config
from greenflow_ray.serving.local.launch import ensure_memory, free_port, port_free, start
from tests.serving.fakes import cascade


def test_a_port_in_use_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert not port_free("127.0.0.1", port)
        with pytest.raises(PortInUse, match=str(port)), start(cascade(tmp_path, port)):
            pytest.fail("it must not start")
    assert not ray.is_initialized()


def test_too_little_memory_is_told() -> None:
    with pytest.raises(ResourceProblem, match="GiB"):
        ensure_memory(1 << 60)
    ensure_memory(1)


def test_missing_data_is_told_before_anything_starts(tmp_path: Path) -> None:
    config = cascade(tmp_path, free_port(), serving={"features": "greenflow_ray.serving.sources:prepared"})
    with pytest.raises(DataError, match="greenflow prepare"), start(config):
        pytest.fail("it must not start")
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("sections", "match"),
    [
        ({"serving": {"features": "nowhere.at_all:source"}}, "serving.features"),
        ({"serving": {"features": "no colon"}}, "package.module:name"),
        ({"serving": {"features": "builtins:repr"}}, "serving.features"),
        ({"reward": {"factory": "tests.serving.fakes:gone"}}, "reward.factory"),
        ({"budget": {"fixed_chain": "nonsense"}}, "nonsense"),
        ({"budget": {"safe_chain": "nonsense"}}, "nonsense"),
        ({"stages": []}, "stages"),
    ],
)
def test_what_is_wrong_with_a_cascade_is_told_in_one_line(
    tmp_path: Path, sections: dict[str, object], match: str
) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        check(cascade(tmp_path, **sections))
    assert "\n" not in str(caught.value)


def test_application_args_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cluster\.yaml"):
        read_config({})
    with pytest.raises(ConfigError, match="colour"):
        read_config({"config": "a.yaml", "colour": "red"})
    with pytest.raises(ConfigError, match=r"no/such\.yaml"):
        build({"config": "no/such.yaml"})
    config = read_config({"config": cascade(Path("relative")).model_dump(mode="json")})
    assert config.run.is_absolute()
