"""The price store on Redis, for clusters: one hash of records, compare-and-swap by a watched transaction."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from greenflow_ray.errors import CorruptRecord, StoreError, VersionConflict
from greenflow_ray.pricing import records
from greenflow_ray.pricing.records import PriceDraft, PriceRecord


class RedisPriceStore:
    """Records in the hash ``<prefix>:records``, by version; the ``keep`` newest stay. Needs the extra ``redis``."""

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

    def publish(self, draft: PriceDraft, *, expected_version: int) -> PriceRecord:
        """See ``PriceStore``."""
        draft.check()
        try:
            with self._client.pipeline() as pipe:
                pipe.watch(self._records)
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
                    raise VersionConflict(expected_version, record.version) from None
                return record
        except self._redis.RedisError as error:
            raise StoreError(f"price store cannot be written ({error}); retry the publication") from error

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
