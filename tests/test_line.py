"""The whole line on a tiny set: data, models, reward, real Ray Serve over HTTP, repricing as a Ray job, report."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml

from greenflow_ray.report.contents import Report
from greenflow_ray.serving.local.launch import free_port
from tests.serving.fakes import PATIENT

CONFIG = {
    "stages": [
        {"name": "recall", "pool": [{"name": "dssm"}], "scales": "corpus"},
        {"name": "pre-ranking", "pool": [{"name": "ydnn"}], "scales": [40, 80, 160]},
        {"name": "ranking", "pool": [{"name": "din"}, {"name": "dien"}], "scales": [10, 20, 40]},
    ],
    "exposure": 10,
    "history_length": 12,
    "data": {"format": "synthetic", "users": 400, "items": 300},
    "training": {"epochs": 1, "targets_per_user": 8},
    "reward": {"epochs": 10, "hidden": 8},
    "load": {"requests_per_second": 6, "duration_s": 30, "reprice_every_s": 4},
    "sampling": {"flush_s": 1.0},
}


@pytest.mark.serve
def test_demo_from_data_to_report(tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump({**CONFIG, "serving": {**PATIENT, "port": port}}))
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "greenflow_ray", "demo", "--run", run, "--config", config, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "GREENFLOW_DEBUG": "1"},
    )
    out, err = process.communicate(timeout=840)
    assert process.returncode == 0, err[-4000:]
    report = Report.model_validate_json(out)
    assert report == Report.model_validate_json((run / "report.json").read_text())

    equal, greenflow = report.arms.equal, report.arms.greenflow
    assert equal.requests == greenflow.requests == report.requests > 50
    assert equal.errors == greenflow.errors == 0
    assert equal.flops == equal.flops_by_receipts
    assert greenflow.flops == greenflow.flops_by_receipts
    assert [name.partition(">")[2] in ("ydnn:160>din:40", "ydnn:160>dien:40") for name in equal.chains] == [True]
    assert len(greenflow.chains) > 1
    assert greenflow.flops < equal.flops
    assert equal.clicks > 0
    assert equal.cpu_seconds
    assert greenflow.energy_source in ("measured", "estimated")
    # the repricing job ran beside the traffic, and its versions took effect
    assert len({p.version for p in report.prices}) > 1
    assert [p.name for p in report.phases] == ["steady traffic", "spike"]
    assert [m.name for m in report.models] == ["dssm", "ydnn", "din", "dien"]
    assert report.reward["field_rce"] >= 0
    assert report.synthetic
    assert json.loads(out)["schema"] == 1

    page = (run / "report.html").read_text()
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    assert list((run / "samples").glob("*.parquet"))
    assert list((run / "feedback").glob("*.parquet"))
    # nothing is left running: the port is free, and no process of this run lives on
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))
    left = [
        p.info["pid"] for p in psutil.process_iter(["pid", "cmdline"]) if str(run) in " ".join(p.info["cmdline"] or [])
    ]
    assert not left
