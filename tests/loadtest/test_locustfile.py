from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from greenflow_ray.loadtest import locustfile, trace


def test_locust_users_follow_the_trace(tmp_path: Path) -> None:
    path = tmp_path / "trace.parquet"
    trace.Trace(np.array([0.0, 1.0]), np.array([9, 4]), 2.0).save(path)
    assert list(itertools.islice(locustfile.users(str(path)), 5)) == [9, 4, 9, 4, 9]
    assert list(itertools.islice(locustfile.users(None), 3)) == [0, 1, 2]
