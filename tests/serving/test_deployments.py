from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from greenflow_ray import config as configuration
from greenflow_ray.imports import import_object
from greenflow_ray.serving.app import APP, build

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["laptop", "cluster"])
def test_serve_understands_the_deployment_files(name: str) -> None:
    text = (ROOT / "deployments" / f"{name}.yaml").read_text(encoding="utf-8")
    (app,) = ServeDeploySchema.model_validate(yaml.safe_load(text)).applications
    assert (app.name, app.route_prefix, set(app.args)) == (APP, "/", {"config"})
    assert import_object(app.import_path, "import_path") is build


def test_the_laptop_listens_on_loopback_only() -> None:
    options = yaml.safe_load((ROOT / "deployments" / "laptop.yaml").read_text(encoding="utf-8"))
    assert options["http_options"]["host"] == "127.0.0.1"
    assert options["applications"][0]["args"]["config"] == str(configuration.RunPaths(Path("runs/demo")).config)


def test_the_clusters_replicas_are_those_of_the_built_in_cascade() -> None:
    options = yaml.safe_load((ROOT / "deployments" / "cluster.yaml").read_text(encoding="utf-8"))
    named = {deployment["name"] for deployment in options["applications"][0]["deployments"]}
    config = configuration.load(ROOT / "greenflow_ray" / "cascade.yaml")
    assert named == {"gateway", "allocator"} | {f"{s.name}-{m.name}" for s in config.stages for m in s.pool}
