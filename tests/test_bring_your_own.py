"""A team's own cascade, as the README shows it: from its files and commands to served answers, our code untouched."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from greenflow_ray import config as configuration
from greenflow_ray.errors import ArtifactError
from greenflow_ray.line import preparing
from greenflow_ray.serving.app import check
from greenflow_ray.serving.local.launch import free_port
from greenflow_ray.support.terminal import Terminal
from tests.serving.fakes import PATIENCE_S, PATIENT
from tests.test_readme import ROOT, TEXT, blocks

SECTION = TEXT[TEXT.index("## Bring your own cascade") : TEXT.index("## Budgets, energy and carbon")]
FRESH = 10**9
"""A user whom only the team's store knows."""


def files() -> dict[str, str]:
    """The team's modules, and the section's YAML by the name in its first line."""
    modules = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "deployments" / "own").glob("*.py")}
    assert all(f"deployments/own/{name}" in SECTION for name in modules)
    (declared,) = [text for text in blocks("yaml") if text in SECTION]
    return modules | {declared.splitlines()[0][2:]: declared}


def commands() -> dict[str, list[str]]:
    """The section's commands by name, as installed."""
    (block,) = [text for text in blocks("bash") if text in SECTION]
    words = [shlex.split(line, comments=True) for line in block.splitlines()]
    return {w[1]: [str(Path(sys.executable).with_name(w[0])), *w[1:]] for w in words}


def interactions(folder: Path, users: int = 320, items: int = 240) -> None:
    """Parquet tables: users of four tastes, items of four kinds."""
    rng = np.random.default_rng(0)
    taste, kind = rng.integers(0, 4, users), np.arange(items) % 4
    rows = []
    for user in range(users):
        odds = np.where(kind == taste[user], 6.0, 1.0) / (1 + np.arange(items) / 40)
        rows += [(user, int(i)) for i in rng.choice(items, rng.integers(12, 40), replace=False, p=odds / odds.sum())]
    who, what = np.array(rows).T
    folder.mkdir()
    table = {"user_id": who + 1, "item_id": what + 5000, "time": np.arange(len(rows))}
    pq.write_table(pa.table(table), folder / "interactions.parquet")
    pq.write_table(pa.table({"item_id": np.arange(items) + 5000, "kind": kind.astype(str)}), folder / "items.parquet")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The team's folder: the README's files, and their data."""
    folder = tmp_path_factory.mktemp("team")
    patience = ", ".join(f"{name}: {seconds}" for name, seconds in PATIENT.items())
    for name, text in files().items():
        (folder / name).write_text(
            text.replace("path/to/data", "data").replace("serving: {", f"serving: {{{patience}, ")
        )
    interactions(folder / "data")
    store = {"user_id": [FRESH, 1], "item_ids": [[5002, 5006, 5010, 5014, 77], [5001]]}
    pq.write_table(pa.table(store), folder / "live.parquet")
    return folder


def environment() -> dict[str, str]:
    """Nothing but the command's own working directory says where modules lie."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}


def run(home: Path, command: list[str], *options: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*command, *options], cwd=home, env=environment(), capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@contextmanager
def serving(home: Path, command: list[str]) -> Iterator[httpx.Client]:
    """The command `greenflow serve` until the block ends."""
    process = subprocess.Popen(
        [*command, "--port", str(free_port()), "--json"],
        cwd=home,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = ""
        while not said.endswith("}\n"):
            line = process.stdout.readline()
            if not line:
                pytest.fail(process.communicate()[1][-3000:])
            said += line
        with httpx.Client(base_url=json.loads(said)["url"], timeout=30, trust_env=False) as http:
            yield http
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)


def cost(costs: dict[str, Any], chain: str) -> int:
    """A chain's cost from the file of costs, reckoned here."""
    timed = {model["name"]: model["timed"] for model in costs["models"]}
    total = 0
    for step in chain.split(">"):
        name, items = step.split(":")
        total += timed[name]["per_request"] + int(items) * timed[name]["per_item"]
    return total


@pytest.mark.serve
def test_from_the_readme_to_a_served_answer(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = commands()
    assert list(told) == ["prepare", "train", "serve", "calibrate"]
    own = home / "runs" / "own"
    run(home, told["prepare"])
    fit = next(w for w in SECTION.split("`") if w.startswith("python "))
    run(home, [sys.executable, *shlex.split(fit)[1:]])

    trained = run(home, told["train"])
    assert "costs are timed, and these models' are not known yet: calibrating" in trained.stderr
    costs = json.loads((own / "costs.json").read_text())
    assert [m["name"] for m in costs["models"]] == ["likeness", "blend", "trees", "din"]
    by_name = {m["name"]: m for m in costs["models"]}
    assert [name for name, m in by_name.items() if m["declared"] is not None] == ["din"]
    assert [name for name, m in by_name.items() if m["counted"] is not None] == ["din"]
    assert all(m["timed"]["per_request"] + m["timed"]["per_item"] > 0 for m in costs["models"])
    assert by_name["trees"]["timed"]["per_item"] > by_name["blend"]["timed"]["per_item"]

    monkeypatch.chdir(home)
    monkeypatch.syspath_prepend(home)
    declared = configuration.load(own / "cascade.yaml")
    again = preparing.train_all(declared, Terminal(quiet=True))
    assert again["reused"], "nothing has changed"
    assert json.loads((own / "costs.json").read_text()) == costs
    models = {row["name"]: row for row in again["models"]}
    assert all(
        (row["flops_per_item"], row["flops_per_request"])
        == (by_name[name]["timed"]["per_item"], by_name[name]["timed"]["per_request"])
        for name, row in models.items()
    )
    assert models["likeness"]["auc"] > 0.6
    assert models["trees"]["auc"] > 0.6

    with serving(home, told["serve"]) as http:
        chains = http.get("/v1/chains").raise_for_status().json()["chains"]
        assert [c["flops"] for c in chains] == [cost(costs, c["name"]) for c in chains]
        assert len(chains) == 16

        def recommend(user: int) -> dict[str, Any]:
            answer: dict[str, Any] = http.post("/v1/recommend", json={"user_id": user}).raise_for_status().json()
            assert not answer["receipt"]["degraded"], answer
            assert len(answer["items"]) == 20
            assert answer["receipt"]["flops"] == cost(costs, answer["receipt"]["chain"])
            return answer

        recommend(7)
        ours, nobody, another = (recommend(user)["items"] for user in (FRESH, FRESH + 1, FRESH + 2))
        assert nobody == another, "of users whom nobody knows all are alike"
        assert ours != nobody, "the team's store knows this one"
        assert not {5002, 5006, 5010, 5014} & set(ours), "what they have had is not shown again"
        assert {5002, 5006, 5010, 5014} & set(nobody)

    later = run(home, told["calibrate"], "--json")
    measured = json.loads(later.stdout)
    assert measured == json.loads((own / "costs.json").read_text())
    assert [m["key"] for m in measured["models"]] == [m["key"] for m in costs["models"]]
    assert [m["timed"] for m in measured["models"]] != [m["timed"] for m in costs["models"]]

    with pytest.raises(ArtifactError, match=r"fitted to other chains than the configuration declares; run `greenflow"):
        check(declared)
    with (home / "my_models.py").open("a") as file:
        file.write("\n# faster now\n")
    with pytest.raises(ArtifactError, match=r"'likeness' was measured with other weights, code.*`greenflow calibrate"):
        check(declared)
