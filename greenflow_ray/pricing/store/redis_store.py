"""The price store on Redis, for clusters: one hash of records, compare-and-swap by a watched transaction, a lease."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice, takewhile
from typing import Any

from greenflow_ray.errors import LeaseLost, StoreError, VersionConflict
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

    @contextmanager
    def _asked(self, to_be: str, otherwise: str) -> Iterator[None]:
        """Redis's errors as StoreError."""
        try:
            yield
        except self._redis.RedisError as error:
            raise StoreError(f"price store cannot be {to_be} ({error}); {otherwise}") from error

    def _versions(self, client: Any) -> list[int]:
        """Newest first, corrupt ones too."""
        return sorted((int(v) for v in client.hkeys(self._records)), reverse=True)

    def _good(self, client: Any, versions: list[int]) -> Iterator[PriceRecord]:
        return records.good((version, client.hget(self._records, version)) for version in versions)

    def latest(self) -> PriceRecord | None:
        """See ``PriceStore``."""
        with self._asked("read", "the last price stays"):
            return next(self._good(self._client, self._versions(self._client)), None)

    def publish(self, draft: PriceDraft, *, expected_version: int, owner: str | None = None) -> PriceRecord:
        """See ``PriceStore``."""
        draft.check()
        with self._asked("written", "retry the publication"), self._client.pipeline() as pipe:
            while True:
                pipe.watch(self._records, self._lease)
                if owner is not None and pipe.get(self._lease) != owner.encode():
                    raise LeaseLost(owner)
                versions = self._versions(pipe)
                newest = next(self._good(pipe, versions), None)
                found = newest.version if newest else 0
                if found != expected_version:
                    raise VersionConflict(expected_version, found)
                record, blob = records.encode(draft, max(versions, default=0) + 1, self._clock())
                pipe.multi()
                pipe.hset(self._records, record.version, blob)
                if old := [v for v in versions if v <= record.version - self._keep]:
                    pipe.hdel(self._records, *old)
                with suppress(self._redis.WatchError):  # another published, or the lease changed: look again
                    pipe.execute()
                    return record

    def _lock(self, owner: str, seconds: float) -> Any:
        """The lease as a lock of Redis's own client, in ``owner``'s hands if it has it."""
        lock = self._client.lock(self._lease, timeout=seconds, thread_local=False)
        lock.local.token = owner.encode()
        return lock

    def acquire(self, owner: str, seconds: float) -> Lease:
        """See ``PriceStore``."""
        lock = self._lock(owner, seconds)
        with self._asked("written", "retry"):
            while not lock.acquire(blocking=False, token=owner):
                holder, left = self._client.get(self._lease), self._client.pttl(self._lease)
                if holder == owner.encode():
                    with suppress(self._redis.exceptions.LockError):  # it expired just now
                        lock.reacquire()
                        break
                elif holder is not None and left > 0:
                    return Lease(holder.decode(), self._clock() + left / 1000)
        return Lease(owner, self._clock() + seconds)

    def renew(self, owner: str, seconds: float) -> None:
        """See ``PriceStore``."""
        with self._asked("written", "retry"):
            try:
                self._lock(owner, seconds).reacquire()
            except self._redis.exceptions.LockError as error:
                raise LeaseLost(owner) from error

    def release(self, owner: str) -> None:
        """See ``PriceStore``."""
        not_ours = suppress(self._redis.exceptions.LockError)  # another's, or nobody's
        with self._asked("written", "the lease frees itself by expiry"), not_ours:
            self._lock(owner, 1.0).release()

    def history(self, since: float = 0.0, limit: int = 1000) -> list[PriceRecord]:
        """See ``PriceStore``."""
        with self._asked("read", "retry"):
            newest_first = self._good(self._client, self._versions(self._client))
            recent = takewhile(lambda record: record.published_at >= since, newest_first)
            return list(islice(recent, limit))[::-1]
