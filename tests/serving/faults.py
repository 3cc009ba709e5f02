"""Faults under open-loop load: one application, something done to it in the middle of a trace, and what was seen."""

from __future__ import annotations

import os
import resource
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psutil

from greenflow_ray.loadtest import open_loop, trace
from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.nearline.repricing.once import LEASE_S
from tests.serving.fakes import NAN_USER
from tests.serving.fault_jobs import gather_samples, repricing, with_pickle
from tests.serving.fault_site import ALLOCATORS, Site, wait_for
from tests.serving.test_application import GOOD_USERS, ours, replicas, title

_LOCK = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
db.execute("ROLLBACK")
"""


@dataclass(frozen=True)
class Load:
    """Poisson arrivals: requests a second, for so many seconds."""

    rate: float
    seconds: float


@dataclass(frozen=True)
class Seen:
    """What a fault did.

    Attributes:
        result: what the client saw, from before the fault until after it.
        charged: FLOPs by which ``/v1/stats`` grew over the load.
        normal_s: seconds from the fault, or from its end where it lasts, until all was normal again; None: it was not.
        budget: FLOP/s in force during the load.
        facts: what else there is to say, by fault.
    """

    result: ArmResult
    charged: int
    normal_s: float | None
    budget: float
    facts: dict[str, Any]

    @property
    def spent(self) -> int:
        """FLOPs of all receipts."""
        return int(self.result.requests.flops.sum())

    def told(self) -> dict[str, Any]:
        """For JSON."""
        totals = self.result.totals()
        return {
            "requests": totals["requests"],
            "not_2xx": self.result.errors,
            "errors_by_kind": self.result.error_counts(),
            "degraded": totals["degraded"],
            "degraded_by_reason": totals["degraded_by_reason"],
            "flops_by_receipts": self.spent,
            "flops_charged": self.charged,
            "budget_flops_per_second": self.budget,
            "span_seconds": self.result.span_s,
            "mean_price": float(np.nanmean(self.result.requests.price)),
            "seconds_until_normal": self.normal_s,
            "latency_seconds": totals["latency_seconds"],
            "client_was_slow": totals["client_was_slow"],
            **self.facts,
        }


@dataclass
class Trial:
    """A load under way, and what its fault notes."""

    site: Site
    load: Load
    budget: float
    began: float
    normal_s: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    seen: Seen | None = None

    def until(self, share: float) -> None:
        """Sleep until ``share`` of the load has been played."""
        time.sleep(max(0.0, self.began + share * self.load.seconds - time.monotonic()))

    def normal(self, condition: Callable[[], bool] = lambda: True) -> None:
        """Note how long from now it takes until ``condition`` holds and answers are whole."""
        self.normal_s = wait_for(lambda: condition() and self.site.whole())

    def outcome(self) -> Seen:
        """After the load."""
        assert self.seen is not None
        return self.seen


@contextmanager
def under_load(site: Site, load: Load, *, users: Sequence[int] = GOOD_USERS) -> Iterator[Trial]:
    """Play ``load`` beside the block, on half of the budget between cheapest and fullest answers; then count."""
    budget = float(site.space.costs.min() + site.space.costs.max()) / 2 * load.rate
    site.put_budget(flops_per_second=budget, policy="greenflow")
    try:
        before, asked = site.stats(), len(site.asked)
        played = trace.generate(trace.constant(load.rate, load.seconds), np.array(users), 0)
        with ThreadPoolExecutor(1) as beside:
            trial = Trial(site, load, budget, time.monotonic())
            playing = beside.submit(open_loop.play, site.server.url, played, name="fault", k=5)
            yield trial
            result = playing.result()
        alone = sum(receipt["flops"] for receipt in site.asked[asked:])
        charged = site.stats()["flops"] - before["flops"] - alone
        trial.seen = Seen(result, charged, trial.normal_s, budget, trial.facts)
    finally:
        site.put_budget(flops_per_second=None, policy="greenflow")


# The faults


def ledger_killed(site: Site, load: Load) -> Seen:
    """SIGKILL on the ledger; normal once another one answers with the same budget."""
    with under_load(site, load) as trial:
        trial.until(0.3)
        (victim,) = ledgers()
        victim.kill()
        trial.normal(lambda: site.order().get("flops_per_second") == trial.budget and victim not in ledgers())
    return trial.outcome()


def store_deleted(site: Site, load: Load) -> Seen:
    """The store's files vanish twice; what is published then has the version in force, yet another price."""

    def delete() -> None:
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()

    path = site.config.paths.prices
    with under_load(site, load) as trial:
        trial.until(0.3)
        delete()
        first = site.publish()
        trial.facts["first_taken_up_s"] = wait_for(lambda: site.follows(first))
        delete()
        before = site.order()["price"]
        trial.until(0.6)
        second = site.publish(worth=100.0)
        trial.normal(lambda: site.order()["price"] > 10 * before)
        trial.facts |= {"versions": [first, second], "prices": [before, site.order()["price"]]}
    again = site.publish()
    wait_for(lambda: site.follows(again))
    return trial.outcome()


def store_locked(site: Site, load: Load) -> Seen:
    """Another process locks the store for a while; a publication waits for it and is taken up."""
    with under_load(site, load) as trial:
        trial.until(0.3)
        command = [sys.executable, "-c", _LOCK, str(site.config.paths.prices), str(min(0.3 * load.seconds, 3.0))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as locker:
            assert locker.stdout is not None
            assert locker.stdout.readline() == "locked\n"
            trial.facts["version_while_locked"] = site.order()["price_version"]
            version = site.publish()
        trial.normal(lambda: site.follows(version))
    return trial.outcome()


def repricing_killed(site: Site, load: Load) -> Seen:
    """SIGKILL on a repricing job between its BEGIN and its COMMIT; once its lease is over, the next one publishes."""
    gather_samples(site)
    version = site.published()
    with repricing(site, pause_at="INSERT INTO prices") as job:
        assert job.reaches_pause()
        with under_load(site, load) as trial:
            trial.until(0.3)
            job.process.kill()
            job.process.wait()
            trial.facts |= {"version_before": version, "version_after": site.published(), "sound": sound(site)}
            with repricing(site, later_s=LEASE_S) as next_job:
                trial.facts["next"] = next_job.outcome()
            trial.normal(lambda: site.follows(version + 1))
    return trial.outcome()


def two_repricings(site: Site, load: Load) -> Seen:
    """Two jobs stand before their first BEGIN at the same moment."""
    gather_samples(site)
    version = site.published()
    with repricing(site, pause_at="BEGIN IMMEDIATE") as one, repricing(site, pause_at="BEGIN IMMEDIATE") as two:
        assert one.reaches_pause()
        assert two.reaches_pause()
        with under_load(site, load) as trial:
            trial.until(0.3)
            one.go.touch()
            two.go.touch()
            trial.facts |= {"version_before": version, "jobs": [one.outcome(), two.outcome()]}
            trial.normal(lambda: site.follows(version + 1))
    return trial.outcome()


def bad_samples(site: Site, load: Load) -> Seen:
    """Truncated files, above 5 % of all and then below, with garbage in data pages and a pickle in the metadata."""
    good = gather_samples(site, files=80)
    version, samples = site.published(), site.config.paths.samples
    with under_load(site, load) as trial, ExitStack() as after:
        whole = good[0].read_bytes()
        present = len(list(samples.glob("*.parquet")))
        many = [samples / f"samples-many-{i}.parquet" for i in range(present // 5)]
        for path in many:
            after.callback(path.unlink, missing_ok=True)
            path.write_bytes(whole[: len(whole) // 2])
        with repricing(site) as job:
            trial.facts["above"] = job.outcome()
        trial.facts |= {"version_before": version, "version_above": site.published()}
        for path in many[1:]:
            path.unlink(missing_ok=True)
        few = {"truncated": many[0]} | {name: samples / f"samples-{name}.parquet" for name in ("garbage", "pickled")}
        footer = struct.unpack("<I", whole[-8:-4])[0] + 8
        few["garbage"].write_bytes(b"PAR1" + b"\xff" * (len(whole) - footer - 4) + whole[-footer:])
        marker = site.folder / "executed"
        few["pickled"].write_bytes(with_pickle(good[0], marker))
        for path in few.values():
            after.callback(path.unlink, missing_ok=True)
        with repricing(site) as job:
            trial.facts["below"] = job.outcome()
        trial.facts |= {
            "executed": marker.exists(),
            "set_aside": sorted(name for name, path in few.items() if not path.exists()),
        }
        trial.normal(lambda: site.follows(version + 1))
    return trial.outcome()


def nan_rewards(site: Site, load: Load) -> Seen:
    """One user's reward row is NaN."""
    with under_load(site, load, users=[*GOOD_USERS, NAN_USER]) as trial:
        trial.normal()
    return trial.outcome()


def clock_stepped(site: Site, load: Load) -> Seen:
    """Every clock goes back by five minutes, and later forward again; a price is published in between."""
    with under_load(site, load) as trial, ExitStack() as after:
        trial.until(0.25)
        after.callback(site.clock.back, 0.0)
        site.clock.back(300.0)
        stepped = site.samples("written")
        version = site.publish()
        trial.facts["price_seconds"] = wait_for(lambda: site.follows(version))
        trial.facts["sample_seconds"] = wait_for(lambda: site.samples("written") > stepped)
        trial.until(0.65)
        site.clock.back(0.0)
        written, version = site.samples("written"), site.publish()
        trial.normal(lambda: site.follows(version) and site.samples("written") > written)
    return trial.outcome()


def allocators_killed(site: Site, load: Load) -> Seen:
    """SIGKILL on every allocator at once; when they are back, a shorter load on the same budget."""
    with under_load(site, load) as trial:
        trial.until(0.2)
        victims = replicas("allocator")
        assert len(victims) == ALLOCATORS
        for victim in victims:
            victim.kill()
        trial.normal(lambda: len([p for p in replicas("allocator") if p not in victims]) == ALLOCATORS)
    with under_load(site, Load(load.rate, load.seconds / 2)) as after:
        pass
    trial.facts["after"] = after.outcome().told()
    return trial.outcome()


def samples_disk_full(site: Site, load: Load) -> Seen:
    """No byte is left where samples are written, until there is room again."""
    with under_load(site, load) as trial:
        trial.until(0.2)
        dropped = site.samples("dropped")
        with full_disk(site) as room:
            trial.facts["drop_seconds"] = wait_for(lambda: site.samples("dropped") > dropped)
            trial.until(0.6)
            room()
            written = site.samples("written")
            trial.normal(lambda: site.samples("written") > written)
        trial.facts["dropped"] = site.samples("dropped") - dropped
    return trial.outcome()


FAULTS: dict[str, Callable[[Site, Load], Seen]] = {
    fault.__name__: fault
    for fault in (
        ledger_killed,
        store_deleted,
        store_locked,
        repricing_killed,
        two_repricings,
        bad_samples,
        nan_rewards,
        clock_stepped,
        allocators_killed,
        samples_disk_full,
    )
}


# What they need


def ledgers() -> list[psutil.Process]:
    return [process for process in ours() if title(process).startswith("ray::Ledger")]


def sound(site: Site) -> bool:
    """Whether SQLite finds nothing wrong with the store."""
    with sqlite3.connect(site.config.paths.prices) as db:
        return bool(db.execute("PRAGMA integrity_check").fetchone() == ("ok",))


@contextmanager
def full_disk(site: Site) -> Iterator[Callable[[], None]]:
    """Leave no room for samples inside the block; yields a function that makes some again.

    A small file system is mounted over the folder; who may not mount lets allocators write no file beyond its length.
    """
    folder = site.config.paths.samples
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "greenflow-test", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    if not mounted:
        with limited_files() as room:
            yield room
        return
    try:
        filler = folder / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        yield filler.unlink
    finally:
        # Lazily: an allocator may be writing this very moment.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def limited_files() -> Iterator[Callable[[], None]]:
    """Allocators may not write files of any length until the yielded function is called."""
    before = {process: process.rlimit(resource.RLIMIT_FSIZE) for process in replicas("allocator")}

    def room() -> None:
        for process, limits in before.items():
            process.rlimit(resource.RLIMIT_FSIZE, limits)

    for process, (_, hard) in before.items():
        process.rlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield room
    finally:
        room()
