"""Offline experiments over measured costs: every seed's chains cost the same, as `greenflow calibrate` would say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from greenflow_ray.datasets.preparation import prepare
from greenflow_ray.errors import ArtifactError
from greenflow_ray.evaluation.experiment import model_tasks
from greenflow_ray.evaluation.work import Loaded, measure_costs
from greenflow_ray.models.training.train import train
from greenflow_ray.support.progress import silent
from tests.evaluation import tiny


def test_all_seeds_share_the_first_ones_costs(tmp_path: Path) -> None:
    plan = tiny.plan(tmp_path, seeds=(0, 1), changes={"costs": "timed"})
    with tiny.small_machine():
        dataset = prepare(plan.of(0, 0))
        for task in model_tasks(plan):
            task()
        with pytest.raises(ArtifactError, match=r"costs\.json: does not exist"):
            Loaded.of(plan.of(0, 0))
        measure_costs(plan, dataset, silent)
        first, second = (Loaded.of(plan.of(seed, 0)).space for seed in plan.seeds)
        assert first.costs.tolist() == second.costs.tolist()
        files = [json.loads(plan.of(seed, 0).paths.costs.read_text()) for seed in plan.seeds]
        assert all(a["key"] != b["key"] for a, b in zip(files[0]["models"], files[1]["models"], strict=True))
        # What is known stays known: the experiments resume over the same costs.
        measure_costs(plan, dataset, silent)
        assert json.loads(plan.of(0, 0).paths.costs.read_text()) == files[0]
        rows = [train(plan.of(seed, 0)) for seed in plan.seeds]
    timed = {m["name"]: m["timed"] for m in files[0]["models"]}
    for seed in rows:
        assert {r.name: r.flops_per_item for r in seed} == {n: t["per_item"] for n, t in timed.items()}
