from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from greenflow_ray import config as configuration
from greenflow_ray.errors import ConfigError
from greenflow_ray.serving.app import APP, build, read_config
from greenflow_ray.support.imports import import_object

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["laptop", "cluster"])
def test_serve_understands_the_deployment_files(name: str) -> None:
    text = (ROOT / "deployments" / f"{name}.yaml").read_text(encoding="utf-8")
    (app,) = ServeDeploySchema.model_validate(yaml.safe_load(text)).applications
    assert (app.name, app.route_prefix, set(app.args) - {"serving"}) == (APP, "/", {"config"})
    assert import_object(app.import_path, "import_path") is build


def test_the_laptop_listens_on_loopback_only() -> None:
    options = yaml.safe_load((ROOT / "deployments" / "laptop.yaml").read_text(encoding="utf-8"))
    assert options["http_options"]["host"] == "127.0.0.1"
    assert options["applications"][0]["args"]["config"] == str(configuration.RunPaths(Path("runs/demo")).config)


def test_the_clusters_replicas_are_those_of_the_built_in_cascade() -> None:
    options = yaml.safe_load((ROOT / "deployments" / "cluster.yaml").read_text(encoding="utf-8"))
    named = {deployment["name"] for deployment in options["applications"][0]["deployments"]}
    config = configuration.load(configuration.DEFAULT)
    assert options["applications"][0]["args"]["serving"] == {"place": "deployment"}
    assert named == {"gateway", "allocator"} | {f"{s.name}-{m.name}" for s in config.stages for m in s.pool}


def test_a_deployment_may_serve_a_cascade_in_its_own_way() -> None:
    given = {"stages": configuration.load(configuration.DEFAULT).model_dump(mode="json")["stages"]}
    given["serving"] = {"port": 8123, "place": "gateway"}
    config = read_config({"config": given, "serving": {"place": "deployment", "gateway": {"replicas": 3}}})
    assert (config.serving.place, config.serving.gateway.replicas, config.serving.port) == ("deployment", 3, 8123)
    assert read_config({"config": given}).serving.place == "gateway"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({}, "expected config"),
        ({"config": {}, "port": 1}, "expected config and perhaps serving, found ['config', 'port']"),
        ({"config": str(configuration.DEFAULT), "serving": 3}, "serving: expected a mapping"),
        ({"config": str(configuration.DEFAULT), "serving": {"place": "cloud"}}, "place"),
    ],
)
def test_wrong_application_arguments_are_refused_in_one_line(args: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(args)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
