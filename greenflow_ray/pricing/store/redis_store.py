"""The price store on Redis, for clusters: one hash of records, compare-and-swap by a watched transaction, a lease."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from greenflow_ray.errors import CorruptRecord, LeaseLost, StoreError, VersionConflict
from greenflow_ray.pricing.store import records
from greenflow_ray.pricing.store.records import Lease, PriceDraft, PriceRecord


class RedisPriceStore:
    """Records in the hash ``<prefix>:records``, by version; the ``keep`` newest stay. Needs the extra ``redis``.

    The lease is the key ``<prefix>:lease``, which expires by the server's clock.
    """

    def __init__(
        self, url: str, *, clock: Callable[[], float] = time.time, keep: int = 1000, prefix: str = "greenflow"
    ) -> None:
        try:
            import redis
        except ImportError as error:
            raise StoreError("redis is missing; pip install 'greenflow-ray[redis]' or give a SQLite path") from error
        self._redis = redis
        self._clock = clock
        self._keep = keep
        self._records = f"{prefix}:records"
        self._lease = f"{prefix}:lease"
        try:
            self._client: Any = redis.Redis.from_url(url, socket_timeout=5.0, socket_connect_timeout=5.0)
            self._client.ping()
        except (redis.RedisError, ValueError) as error:
            raise StoreError(
                f"{url.split('@')[-1]}: price store cannot be reached ({error}); is Redis running?"
            ) from error

    def close(self) -> None:
        """Release the connections."""
        self._client.close()

    def _newest_good(self, client: Any) -> tuple[PriceRecord | None, list[int]]:
        versions = sorted(int(v) for v in client.hkeys(self._records))
        for version in reversed(versions):
            try:
                return records.decode(version, client.hget(self._records, version)), versions
            except CorruptRecord:
                continue
        return None, versions

    def latest(self) -> PriceRecord | None:
        """See ``PriceStore``."""
        try:
            return self._newest_good(self._client)[0]
        except self._redis.RedisError as error:
            raise StoreError(f"price store cannot be read ({error}); the last price stays") from error

    def publish(self, draft: PriceDraft, *, expected_version: int, owner: str | None = None) -> PriceRecord:
        """See ``PriceStore``."""
        draft.check()
        try:
            with self._client.pipeline() as pipe:
                while True:
                    pipe.watch(self._records, self._lease)
                    if owner is not None and pipe.get(self._lease) != owner.encode():
                        raise LeaseLost(owner)
                    newest, versions = self._newest_good(pipe)
                    found = newest.version if newest else 0
                    if found != expected_version:
                        raise VersionConflict(expected_version, found)
                    record, blob = records.encode(draft, (versions[-1] if versions else 0) + 1, self._clock())
                    pipe.multi()
                    pipe.hset(self._records, record.version, blob)
                    old = [v for v in versions if v <= record.version - self._keep]
                    if old:
                        pipe.hdel(self._records, *old)
                    try:
                        pipe.execute()
                    except self._redis.WatchError:
                        continue  # another published, or the lease changed hands or was renewed: look again
                    return record
        except self._redis.RedisError as error:
            raise StoreError(f"price store cannot be written ({error}); retry the publication") from error

    def _lock(self, owner: str, seconds: float) -> Any:
        """The lease as a lock of Redis's own client, in ``owner``'s hands if it has it."""
        lock = self._client.lock(self._lease, timeout=seconds, thread_local=False)
        lock.local.token = owner.encode()
        return lock

    def acquire(self, owner: str, seconds: float) -> Lease:
        """See ``PriceStore``."""
        lock = self._lock(owner, seconds)
        try:
            while not lock.acquire(blocking=False, token=owner):
                holder, left = self._client.get(self._lease), self._client.pttl(self._lease)
                if holder == owner.encode():
                    with suppress(self._redis.exceptions.LockError):  # it expired just now
                        lock.reacquire()
                        break
                elif holder is not None and left > 0:
                    return Lease(holder.decode(), self._clock() + left / 1000)
        except self._redis.RedisError as error:
            raise StoreError(f"price store cannot be written ({error}); retry") from error
        return Lease(owner, self._clock() + seconds)

    def renew(self, owner: str, seconds: float) -> None:
        """See ``PriceStore``."""
        try:
            self._lock(owner, seconds).reacquire()
        except self._redis.exceptions.LockError as error:
            raise LeaseLost(owner) from error
        except self._redis.RedisError as error:
            raise StoreError(f"price store cannot be written ({error}); retry") from error

    def release(self, owner: str) -> None:
        """See ``PriceStore``."""
        try:
            with suppress(self._redis.exceptions.LockError):  # another's, or nobody's
                self._lock(owner, 1.0).release()
        except self._redis.RedisError as error:
            raise StoreError(f"price store cannot be written ({error}); the lease frees itself by expiry") from error

    def history(self, since: float = 0.0, limit: int = 1000) -> list[PriceRecord]:
        """See ``PriceStore``."""
        found: list[PriceRecord] = []
        try:
            for version in sorted((int(v) for v in self._client.hkeys(self._records)), reverse=True):
                try:
                    record = records.decode(version, self._client.hget(self._records, version))
                except CorruptRecord:
                    continue
                if len(found) == limit or record.published_at < since:
                    break
                found.append(record)
        except self._redis.RedisError as error:
            raise StoreError(f"price store cannot be read ({error}); retry") from error
        return found[::-1]
