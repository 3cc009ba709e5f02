"""Variants of the network say what they are, whatever the configured network is."""

from __future__ import annotations

import pytest

from greenflow_ray.config import RewardConfig
from greenflow_ray.evaluation.contest.learners import FULL, ablations


@pytest.mark.parametrize("monotone", [True, False])
def test_a_variant_is_fitted_with_the_switches_that_it_is_filed_under(monotone: bool) -> None:
    variants = ablations(monotone)
    for teacher, full in FULL.items():
        assert variants.pop((teacher, True, True, monotone)) is full
    assert len(variants) == 8
    assert len({learner.name for learner in variants.values()}) == 8
    base = RewardConfig(monotone=monotone)
    for (teacher, recursive, basis, bound), learner in variants.items():
        settings = RewardConfig.model_validate({**base.model_dump(), **dict(learner.changes)})
        assert (settings.recursive, settings.multi_basis, settings.monotone) == (recursive, basis, bound)
        assert settings.teacher == teacher
    assert set(FULL) == {"boosted", "none"}
