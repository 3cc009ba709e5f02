"""The price store, on SQLite and on Redis: compare-and-swap under a lease, rising versions, corruption refused."""

from __future__ import annotations

import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from greenflow_ray.errors import CorruptRecord, LeaseLost, PricingInputError, StoreError, VersionConflict
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.store import records
from greenflow_ray.pricing.store.base import open_store
from greenflow_ray.pricing.store.records import PriceDraft
from greenflow_ray.pricing.store.sqlite_store import SqlitePriceStore
from tests.pricing.problems import realistic

FRONTIER = Frontier.build(*realistic(200))


def draft(price=1.5, **changes):
    return PriceDraft(**{"frontier": FRONTIER, "price": price, "requests": 200.0, "meta": {"job": "a"}, **changes})


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory):
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("redis-server is not installed (apt-get install redis-server)")
    redis = pytest.importorskip("redis", reason="the extra 'redis' is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("redis")
    command = [server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        client = redis.Redis(port=port)
        for _ in range(200):
            try:
                client.ping()
                break
            except redis.ConnectionError:
                time.sleep(0.05)
        client.close()
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(params=["sqlite", "redis"])
def store(request, tmp_path):
    clock = iter(range(100, 10_000))
    if request.param == "sqlite":
        opened = open_store(tmp_path / "prices" / "prices.sqlite", clock=lambda: float(next(clock)))
    else:
        url = request.getfixturevalue("redis_url")
        opened = open_store(url, clock=lambda: float(next(clock)))
        opened._client.flushall()
    yield opened
    opened.close()


def damage(store, version, blob=b"torn"):
    if isinstance(store, SqlitePriceStore):
        with sqlite3.connect(store.path) as db:
            db.execute("UPDATE prices SET record = ? WHERE version = ?", (blob, version))
        db.close()
    else:
        store._client.hset(store._records, version, blob)


def test_an_empty_store_has_no_price(store):
    assert store.latest() is None
    assert store.history() == []


def test_what_is_published_is_read_back(store):
    published = store.publish(draft(), expected_version=0)
    found = store.latest()
    assert (found.version, found.price, found.requests, found.published_at) == (1, 1.5, 200.0, 100.0)
    assert found.meta == {"job": "a"}
    assert found.frontier.to_bytes() == FRONTIER.to_bytes()
    assert published.version == found.version


def test_versions_rise_and_history_is_in_order(store):
    for version in range(5):
        assert store.publish(draft(price=float(version)), expected_version=version).version == version + 1
    assert [r.version for r in store.history()] == [1, 2, 3, 4, 5]
    assert [r.version for r in store.history(since=102.0)] == [3, 4, 5]
    assert [r.version for r in store.history(limit=2)] == [4, 5]


def test_the_second_publisher_loses(store):
    store.publish(draft(), expected_version=0)
    with pytest.raises(VersionConflict, match="holds version 1, expected 0"):
        store.publish(draft(), expected_version=0)
    assert store.latest().version == 1


def test_of_many_publishers_at_once_each_version_has_one(store):
    won = []

    def publish():
        for _ in range(10):
            latest = store.latest()
            try:
                won.append(store.publish(draft(), expected_version=latest.version if latest else 0).version)
            except VersionConflict:
                continue

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == list(range(1, len(won) + 1))
    assert store.latest().version == len(won) > 0


@pytest.mark.parametrize("how", ["torn", "flipped", "swapped"])
def test_a_corrupt_record_is_refused_and_the_last_good_one_stays(store, how):
    store.publish(draft(price=1.0), expected_version=0)
    store.publish(draft(price=2.0), expected_version=1)
    blob = bytearray(records.encode(draft(price=2.0), 1 if how == "swapped" else 2, 0.0)[1])
    if how == "flipped":
        blob[len(blob) // 2] ^= 4
    damage(store, 2, bytes(blob[:-7] if how == "torn" else blob))
    assert store.latest().price == 1.0
    assert [r.version for r in store.history()] == [1]
    again = store.publish(draft(price=3.0), expected_version=1)
    assert again.version == 3, "versions never come twice"
    assert store.latest().price == 3.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"price": np.nan},
        {"price": -1.0},
        {"requests": np.inf},
        {"frontier": Frontier.empty()},
        {"frontier": Frontier(1.0, np.nan, 0.0, FRONTIER.buckets, FRONTIER.cost, FRONTIER.reward_gain)},
        {"meta": {"x": float("nan")}},
        {"meta": {"x": object()}},
    ],
)
def test_nothing_is_published_that_is_not_finite(store, wrong):
    with pytest.raises(PricingInputError):
        store.publish(draft(**wrong), expected_version=0)
    assert store.latest() is None


class Clock:
    """A clock that is set by hand."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture(params=["sqlite", "redis"])
def leased(request, tmp_path):
    """A store and its clock."""
    clock = Clock()
    where = request.getfixturevalue("redis_url") if request.param == "redis" else tmp_path / "prices.sqlite"
    opened = open_store(where, clock=clock)
    if request.param == "redis":
        opened._client.flushall()
    yield opened, clock
    opened.close()


def expire(store, clock, seconds):
    """The lease's time runs out: on SQLite by our clock, on Redis by the server's."""
    clock.now += seconds
    if not isinstance(store, SqlitePriceStore):
        store._client.delete(store._lease)


def test_one_owner_at_a_time_holds_the_lease(leased):
    store, _ = leased
    assert store.acquire("a", 30).owner == "a"
    held = store.acquire("b", 30)
    assert held.owner == "a"
    assert held.until == pytest.approx(1030, abs=1)
    assert store.acquire("a", 60).until == pytest.approx(1060, abs=1), "its owner may take it again"
    store.release("b")
    assert store.acquire("b", 30).owner == "a", "only its owner gives it up"
    store.release("a")
    assert store.acquire("b", 30).owner == "b"


def test_a_lease_frees_itself_by_expiry_and_is_not_renewed_after(leased):
    store, clock = leased
    store.acquire("a", 30)
    store.renew("a", 30)
    with pytest.raises(LeaseLost, match="b no longer holds the lease"):
        store.renew("b", 30)
    expire(store, clock, 31)
    with pytest.raises(LeaseLost):
        store.renew("a", 30)
    assert store.acquire("b", 30).owner == "b"


def test_who_has_lost_the_lease_does_not_publish(leased):
    store, clock = leased
    store.acquire("a", 30)
    assert store.publish(draft(), expected_version=0, owner="a").version == 1
    expire(store, clock, 31)
    with pytest.raises(LeaseLost):
        store.publish(draft(price=9.0), expected_version=1, owner="a")
    store.acquire("b", 30)
    with pytest.raises(LeaseLost):
        store.publish(draft(price=9.0), expected_version=1, owner="a")
    assert store.publish(draft(price=2.0), expected_version=1, owner="b").version == 2
    assert store.latest().price == 2.0


def test_a_lease_renewed_while_publishing_does_not_hinder_it(redis_url):
    store = open_store(redis_url)
    store._client.flushall()
    store.acquire("a", 30)
    decode, renewals = records.decode, []
    store.publish(draft(), expected_version=0, owner="a")

    def renewing(version, blob):
        if len(renewals) < 2:
            renewals.append(open_store(redis_url).renew("a", 60))
        return decode(version, blob)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "decode", renewing)
        assert store.publish(draft(), expected_version=1, owner="a").version == 2
    assert len(renewals) == 2
    store.close()


def test_a_clock_set_back_does_not_lengthen_the_lease_of_who_died(tmp_path):
    clock = Clock()
    with SqlitePriceStore(tmp_path / "p.sqlite", clock=clock) as store:
        store.acquire("dead", 30)
        clock.now -= 300
        assert store.acquire("b", 30).until == clock.now + 30
        clock.now += 31
        assert store.acquire("b", 30).owner == "b"


@pytest.mark.parametrize("statement", ["INSERT INTO prices", "DELETE FROM prices", "COMMIT"])
def test_killed_while_publishing_the_old_price_stays(tmp_path, statement):
    path = tmp_path / "p.sqlite"
    with SqlitePriceStore(path) as store:
        store.publish(draft(price=1.0), expected_version=0)
    code = f"""
import os, signal
from greenflow_ray.pricing.store.sqlite_store import SqlitePriceStore
from tests.pricing.store.test_base import draft
store = SqlitePriceStore({str(path)!r})
store.acquire("killed", 30)
store._connection.set_trace_callback(lambda s: s.startswith({statement!r}) and os.kill(os.getpid(), signal.SIGKILL))
store.publish(draft(price=2.0), expected_version=1, owner="killed")
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    late = SqlitePriceStore(path, clock=lambda: time.time() + 31)
    assert late.latest().price == 1.0
    assert late.acquire("next", 30).owner == "next"
    assert late.publish(draft(price=3.0), expected_version=1, owner="next").version == 2
    late.close()


def test_two_processes_share_a_file(tmp_path):
    with SqlitePriceStore(tmp_path / "p.sqlite") as one, SqlitePriceStore(tmp_path / "p.sqlite") as two:
        one.publish(draft(), expected_version=0)
        assert two.latest().version == 1
        two.publish(draft(), expected_version=1)
        assert one.latest().version == 2


def test_a_store_that_is_deleted_is_begun_anew_by_everyone(tmp_path):
    path = tmp_path / "prices" / "prices.sqlite"
    reader, writer = SqlitePriceStore(path), SqlitePriceStore(path)
    writer.publish(draft(), expected_version=0)
    assert reader.latest().version == 1
    for file in path.parent.iterdir():
        file.unlink()
    assert writer.publish(draft(2.5), expected_version=0).version == 1
    assert reader.latest().price == 2.5


def test_old_records_are_dropped(tmp_path):
    with SqlitePriceStore(tmp_path / "p.sqlite", keep=2) as store:
        for version in range(4):
            store.publish(draft(), expected_version=version)
        assert [r.version for r in store.history()] == [3, 4]


def test_a_closed_store_opens_again(tmp_path):
    store = SqlitePriceStore(tmp_path / "p.sqlite")
    store.publish(draft(), expected_version=0)
    store.close()
    assert store.latest().version == 1
    store.close()


def test_a_file_that_is_no_database_is_named(tmp_path):
    path = tmp_path / "prices.sqlite"
    path.write_bytes(b"this is not a database, it is prose" * 100)
    with pytest.raises(StoreError, match=r"prices\.sqlite.*move the file away"):
        SqlitePriceStore(path)


def test_a_database_torn_while_open_is_named(tmp_path):
    path = tmp_path / "prices.sqlite"
    with SqlitePriceStore(path) as store:
        store.publish(draft(), expected_version=0)
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(StoreError, match="price store cannot be used"), SqlitePriceStore(path) as store:
        store.latest()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="folder cannot be made"):
        SqlitePriceStore(tmp_path / "file" / "prices.sqlite")


def test_a_redis_that_is_not_there_is_named():
    pytest.importorskip("redis", reason="the extra 'redis' is not installed")
    with pytest.raises(StoreError, match="is Redis running"):
        open_store("redis://127.0.0.1:1/0")


@pytest.mark.parametrize("blob", [None, b"", b"GFPR", b"x" * 200, "text"])
def test_foreign_records_are_refused(blob):
    with pytest.raises(CorruptRecord, match="price record 3"):
        records.decode(3, blob)
