"""Whatever breaks under load, every request is answered, says so if it was degraded, and is charged exactly once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from greenflow_ray.serving.local.launch import port_free
from tests.serving import faults
from tests.serving.fakes import NAN_USER, PATIENT
from tests.serving.fault_site import Site, serving
from tests.serving.faults import Load, Seen

pytestmark = [pytest.mark.serve, pytest.mark.long]

LOAD = Load(rate=30.0, seconds=5.0)
CAP = {"budget_cap"}
"""Reasons that a tight budget brings by itself."""

SPARE_S = 1.5
"""Seconds of budget beyond the load's: half of one is the burst that the bucket holds, one until a price answers."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    # Patient, so that on a busy machine, too, only the fault degrades.
    with serving(tmp_path_factory.mktemp("faults"), **PATIENT) as running:
        yield running


def check(seen: Seen, *reasons: str) -> None:
    """Nobody failed, degraded answers gave one of ``reasons``, receipts were charged, and the budget was kept."""
    assert seen.result.errors == 0, seen.result.error_counts()
    assert set(np.unique(seen.result.requests.status)) == {200}
    assert set(seen.result.degraded_counts()) <= CAP | set(reasons)
    assert seen.charged == seen.spent
    assert seen.normal_s is not None, "never normal again"
    assert seen.spent <= seen.budget * (seen.result.span_s + SPARE_S)


def test_a_killed_ledger_comes_back_with_account_and_budget(site: Site) -> None:
    check(faults.ledger_killed(site, LOAD))


def test_a_deleted_store_is_missed_by_nobody_and_its_successor_is_taken_up(site: Site) -> None:
    seen = faults.store_deleted(site, LOAD)
    check(seen)
    assert seen.facts["first_taken_up_s"] is not None


def test_a_locked_store_delays_a_publication_and_nothing_else(site: Site) -> None:
    seen = faults.store_locked(site, LOAD)
    check(seen)
    assert seen.facts["version_while_locked"] > 0


def test_a_repricing_killed_while_it_publishes_leaves_the_old_price_and_no_lock(site: Site) -> None:
    seen = faults.repricing_killed(site, LOAD)
    check(seen)
    assert seen.facts["sound"]
    assert seen.facts["version_after"] == seen.facts["version_before"]
    assert (seen.facts["next"]["exit_code"], seen.facts["next"]["published"]) == (0, True), seen.facts["next"]
    assert seen.facts["next"]["version"] == seen.facts["version_before"] + 1


def test_of_two_repricings_at_once_one_publishes(site: Site) -> None:
    seen = faults.two_repricings(site, LOAD)
    check(seen)
    jobs = seen.facts["jobs"]
    assert [job["exit_code"] for job in jobs] == [0, 0], jobs
    assert sorted(job["published"] for job in jobs) == [False, True]
    assert {job["version"] for job in jobs} <= {seen.facts["version_before"], seen.facts["version_before"] + 1}


def test_few_bad_sample_files_are_set_aside_and_many_stop_repricing(site: Site) -> None:
    seen = faults.bad_samples(site, LOAD)
    check(seen)
    above, below = seen.facts["above"], seen.facts["below"]
    assert above["exit_code"] == 2
    assert "sample files are bad" in above["errors"]
    assert seen.facts["version_above"] == seen.facts["version_before"]
    assert (below["exit_code"], below["published"], below["bad_files"]) == (0, True, 3), below
    assert seen.facts["set_aside"] == ["garbage", "pickled", "truncated"]
    assert not seen.facts["executed"]


def test_a_reward_that_is_not_a_number_costs_its_own_user_alone(site: Site) -> None:
    seen = faults.nan_rewards(site, LOAD)
    check(seen, "reward_not_finite")
    requests = seen.result.requests
    theirs = requests.user_id == NAN_USER
    assert theirs.any()
    assert requests.degraded[theirs].all()
    assert set(requests.chain[theirs].tolist()) == {site.space.cheapest}
    not_finite = seen.result.reasons.index("reward_not_finite")
    assert not (requests.reason[~theirs] == not_finite).any()


def test_a_clock_that_steps_back_and_forward_stops_neither_samples_nor_prices(site: Site) -> None:
    seen = faults.clock_stepped(site, LOAD)
    check(seen)
    assert seen.facts["price_seconds"] is not None
    assert seen.facts["sample_seconds"] is not None


def test_all_allocators_killed_at_once_come_back_and_keep_the_budget(site: Site) -> None:
    seen = faults.allocators_killed(site, LOAD)
    check(seen, "allocator_unavailable", "allocator_timeout")
    assert seen.result.requests.degraded.any()
    after = seen.facts["after"]
    assert (after["not_2xx"], set(after["degraded_by_reason"]) - CAP) == (0, set())
    assert after["mean_price"] > 0
    assert after["flops_charged"] == after["flops_by_receipts"]
    assert after["flops_by_receipts"] <= seen.budget * (after["span_seconds"] + SPARE_S)


def test_a_full_disk_costs_samples_and_no_request(site: Site) -> None:
    seen = faults.samples_disk_full(site, LOAD)
    check(seen)
    assert seen.facts["drop_seconds"] is not None
    assert seen.facts["dropped"] > 0


def test_the_application_is_as_it_was(site: Site) -> None:
    assert site.whole()
    assert site.order()["flops_per_second"] is None
    assert not port_free("127.0.0.1", site.config.serving.port)
