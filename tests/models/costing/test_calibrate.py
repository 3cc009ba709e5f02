"""Calibration: what is timed, on which requests, what is counted, and when its file is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from greenflow_ray.config import CascadeConfig
from greenflow_ray.datasets.features import TableFeatures
from greenflow_ray.datasets.preparation import prepare
from greenflow_ray.datasets.schema import Catalog, Dataset, RequestBatch, Split
from greenflow_ray.errors import ArtifactError, ConfigError, DataError
from greenflow_ray.models.costing import costs
from greenflow_ray.models.costing.calibrate import calibrate, sizes_of
from greenflow_ray.models.costing.costs import Costs, Flops
from greenflow_ray.models.costing.timing import Reference
from greenflow_ray.models.pool import calibrated, chain_space, fingerprint, load_pool
from greenflow_ray.models.scorer import CorpusScorer, Scorer
from greenflow_ray.models.training.train import train, with_costs
from greenflow_ray.ragged import Ragged
from tests.models.worlds import config

HERE = "tests.models.costing.test_calibrate"
NOW = [0.0]
ASKED: list[tuple[str, RequestBatch, Ragged | None]] = []


class Paced:
    """A scorer that says nothing of its cost, and takes time only on the clock of this file."""

    def __init__(self, name: str, call: float, request: float, item: float) -> None:
        self.name = name
        self._pace = (call, request, item)

    def _take(self, requests: int, items: int) -> None:
        NOW[0] += float(np.dot(self._pace, (1, requests, items)))

    def score(self, requests: RequestBatch, candidates: Ragged) -> npt.NDArray[np.float32]:
        ASKED.append((self.name, requests, candidates))
        self._take(len(requests), len(candidates.values))
        return (candidates.values % 97).astype(np.float32)


class PacedCorpus(Paced):
    n_items = 0

    def score_corpus(self, requests: RequestBatch) -> npt.NDArray[np.float32]:
        ASKED.append((self.name, requests, None))
        self._take(len(requests), len(requests) * self.n_items)
        return np.tile((np.arange(self.n_items) % 97).astype(np.float32), (len(requests), 1))


def paced(weights: Path, catalog: Catalog, *, name: str, pace: list[float], corpus: bool = False) -> Paced:
    made = (PacedCorpus if corpus else Paced)(name, *pace)
    if isinstance(made, PacedCorpus):
        made.n_items = len(catalog)
    return made


class Layer:
    """A torch module that nobody declared the FLOPs of: 2·8·4 for an item, 2·8·8 a request, 2·16 a call."""

    def __init__(self) -> None:
        self.item, self.user, self.call = nn.Linear(8, 4), nn.Linear(8, 8), nn.Linear(16, 1)

    def score(self, requests: RequestBatch, candidates: Ragged) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            self.call(torch.ones(1, 16))
            self.user(torch.ones(len(requests), 8))
            scores: npt.NDArray[np.float32] = self.item(torch.ones(len(candidates.values), 8)).sum(1).numpy()
            return scores


def layer(weights: Path, catalog: Catalog) -> Layer:
    return Layer()


class Says:
    """A scorer whose words about its cost, or whose scores, may be wrong."""

    def __init__(self, per_item: Any, wrong: str | None) -> None:
        self.flops_per_item, self.flops_per_request = per_item, 0
        self._wrong = wrong

    def score(self, requests: RequestBatch, candidates: Ragged) -> npt.NDArray[np.float32]:
        scores = np.ones(len(candidates.values), dtype=np.float32)
        if self._wrong == "nan":
            scores[0] = np.nan
        return scores[1:] if self._wrong == "short" else scores


def says(weights: Path, catalog: Catalog, *, per_item: Any = 1, wrong: str | None = None) -> Says:
    return Says(per_item, wrong)


def own(called: str, factory: str = "paced", **args: Any) -> dict[str, Any]:
    return {"name": called, "factory": f"{HERE}:{factory}", "args": args}


PACES = {"wide": [1e-2, 2e-2, 1e-4], "fast": [0.0, 1e-2, 1e-3], "slow": [4e-2, 0.0, 1e-2]}


def stages(*, corpus: bool = True) -> list[dict[str, Any]]:
    pools = {name: own(name, name=name, pace=pace) for name, pace in PACES.items()}
    pools["wide"]["args"]["corpus"] = corpus
    return [
        {"name": "recall", "pool": [pools["wide"]], "scales": "corpus"},
        {"name": "ranking", "pool": [pools["fast"], pools["slow"]], "scales": [20, 45, 80]},
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Path]:
    run = tmp_path_factory.mktemp("calibrate")
    return prepare(config(run)), run / "data"


Data = tuple[Dataset, Path]


def declared(run: Path, data: Data, **changes: Any) -> CascadeConfig:
    return config(run, prepared=data[1], **{"costs": "timed", "stages": stages(), **changes})


def measure(of: CascadeConfig, dataset: Dataset, *, paced: bool = True) -> Costs:
    def wait() -> None:
        NOW[0] += 0.25

    users = dataset.users
    ids = users.user_ids[users.of(Split.VALIDATION)]
    timed = {"clock": lambda: NOW[0], "reference": Reference(wait, 10**9)} if paced else {}
    found = calibrate(of, dataset.catalog, TableFeatures(users), ids, **timed)  # type: ignore[arg-type]
    costs.write(of, found)
    return found


def test_times_become_flop_equivalents(tmp_path: Path, data: Data) -> None:
    dataset, _ = data
    of = declared(tmp_path, data, serving={"batch_requests": 8})
    found = measure(of, dataset)
    assert found.reference_flops_per_second == pytest.approx(4e9)
    by_name = {m.name: m for m in found.models}
    assert [(m.stage, m.name, m.declared, m.counted) for m in found.models] == [
        ("recall", "wide", None, None),
        ("ranking", "fast", None, None),
        ("ranking", "slow", None, None),
    ]
    assert all(m.fit.error < 1e-6 for m in found.models)
    # A quarter of a full batch, two requests, shares a call. Recall is only ever asked for the whole corpus.
    whole = 1e-2 / 2 + 2e-2 + 1e-4 * len(dataset.catalog)
    assert by_name["wide"].timed == Flops(0, pytest.approx(whole * 4e9))  # type: ignore[arg-type]
    assert by_name["fast"].timed == Flops(pytest.approx(4e6), pytest.approx(4e7))  # type: ignore[arg-type]
    assert by_name["slow"].timed == Flops(pytest.approx(4e7), pytest.approx(8e7))  # type: ignore[arg-type]
    pool = load_pool(of, dataset.catalog)
    space = chain_space(of, pool, len(dataset.catalog))
    timed = {m.name: m.timed for m in found.models}
    assert {c.name: c.flops for c in space.chains}[f"wide:{len(dataset.catalog)}>slow:45"] == (
        timed["wide"].per_request + timed["slow"].per_request + 45 * timed["slow"].per_item
    )
    assert isinstance(pool["wide"], CorpusScorer)
    assert not isinstance(pool["slow"], CorpusScorer)
    request, row = TableFeatures(dataset.users).rows(np.arange(1)), Ragged.from_rows([[3, 1, 2]])
    np.testing.assert_array_equal(pool["slow"].score(request, row), [3, 1, 2])


def test_the_requests_are_real_and_the_candidates_what_serving_would_hand_over(tmp_path: Path, data: Data) -> None:
    dataset, _ = data
    of = declared(tmp_path, data, serving={"batch_requests": 8})
    ASKED.clear()
    measure(of, dataset)
    users = dataset.users
    held_out = set(users.user_ids[users.of(Split.VALIDATION)].tolist())
    sizes, batches = set(), set()
    for name, requests, candidates in ASKED:
        assert set(requests.user_ids.tolist()) <= held_out
        batches.add(len(requests))
        if name == "wide":
            assert candidates is None, "a corpus scorer is asked for the corpus"
            continue
        assert candidates is not None
        sizes |= set(candidates.lengths.tolist())
        history = requests.history
        for row in range(len(requests)):
            mine = candidates.row(row)
            assert not set(mine) & set(history.row(row).tolist())
            scores = mine % 97
            assert (scores[:-1] >= scores[1:]).all(), "the stage before orders them, best first"
            unseen = np.setdiff1d(np.arange(len(dataset.catalog)), history.row(row)) % 97
            assert scores.tolist() == np.sort(unseen)[::-1][: len(mine)].tolist()
    assert sizes == {20, 40, 80}
    assert batches == {1, 2, 8}


def test_without_score_corpus_the_corpus_is_handed_over(tmp_path: Path, data: Data) -> None:
    dataset, _ = data
    found = measure(declared(tmp_path, data, stages=stages(corpus=False)), dataset)
    wide = found.models[0]
    n = len(dataset.catalog)
    assert wide.sizes == (n // 4, round((n // 4 * n) ** 0.5), n)
    assert wide.fit.per_item == pytest.approx(1e-4)
    assert wide.timed.per_item == pytest.approx(4e5, rel=1e-6)


def test_sizes_span_the_scales(tmp_path: Path, data: Data) -> None:
    of = declared(tmp_path, data)
    assert sizes_of(of.stages[1], 150) == (20, 40, 80)
    one = of.stages[1].model_copy(update={"scales": (1,)})
    assert sizes_of(one, 150) == (1,)


def test_counted_equals_declared_for_the_built_in_four(tmp_path: Path) -> None:
    of = config(tmp_path, costs="counted")
    dataset = prepare(of)
    rows = train(of)
    found = measure(of, dataset, paced=False)
    by_name = {m.name: m for m in found.models}
    for name in ("ydnn", "din", "dien"):
        assert by_name[name].counted == by_name[name].declared
    n = len(dataset.catalog)
    assert by_name["dssm"].declared is not None
    whole = by_name["dssm"].declared.per_request + n * by_name["dssm"].declared.per_item
    assert by_name["dssm"].counted == Flops(0, whole)
    assert all(m.timed.per_request > 0 for m in found.models)
    assert all(m.speed is not None and m.speed > 0 for m in found.models)
    chains = [
        chain_space(c, load_pool(c, dataset.catalog), n)
        for c in (of, of.model_copy(update={"costs": "declared"}), of.model_copy(update={"costs": "timed"}))
    ]
    assert chains[0].costs.tolist() == chains[1].costs.tolist()
    assert chains[0].costs.tolist() != chains[2].costs.tolist()
    assert {r.name: r.flops_per_item for r in with_costs(of, rows, dataset.catalog)}["dssm"] == 0
    assert {r.name: r.flops_per_item for r in train(of)}["dssm"] == 0


def test_a_module_that_declares_nothing_is_counted(tmp_path: Path, data: Data) -> None:
    dataset, _ = data
    pool = [own("layer", "layer")]
    of = declared(
        tmp_path, data, costs="counted", stages=[stages()[0], {"name": "ranking", "pool": pool, "scales": [20, 60]}]
    )
    found = measure(
        of.model_copy(update={"serving": of.serving.model_copy(update={"batch_requests": 8})}), dataset, paced=False
    )
    assert found.models[1].counted == Flops(2 * 8 * 4, 2 * 8 * 8 + 2 * 16 // 2)
    with pytest.raises(ConfigError, match=r"model 'wide' has no counted FLOPs.*numpy.*set `costs: timed`"):
        load_pool(of, dataset.catalog)


def test_costs_that_are_not_of_these_models_are_refused(tmp_path: Path, data: Data) -> None:
    dataset, _ = data
    of = declared(tmp_path, data)
    cure = rf"run `greenflow calibrate --run {tmp_path}`"

    def refused(words: str, config: CascadeConfig = of) -> None:
        with pytest.raises(ArtifactError, match=words + r".*" + cure) as error:
            load_pool(config, dataset.catalog)
        assert "\n" not in str(error.value)
        assert str(tmp_path / "costs.json") in str(error.value)
        assert not calibrated(config, dataset.catalog)

    refused(r"does not exist, and costs are 'timed'")
    measure(of, dataset)
    assert calibrated(of, dataset.catalog)
    load_pool(of, dataset.catalog)

    other = stages()
    other[1]["pool"][0]["args"]["pace"] = [0.0, 0.0, 1.0]
    refused("model 'fast' was measured with other weights, code, arguments", declared(tmp_path, data, stages=other))
    other = stages()
    other[1]["scales"] = [20, 90]
    refused("model 'fast' was measured with other", declared(tmp_path, data, stages=other))
    other = stages()
    other[1]["pool"][1]["name"] = "new"
    refused("holds no model 'new'", declared(tmp_path, data, stages=other))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "slow.safetensors").write_bytes(b"weights")
    refused("model 'slow' was measured with other weights")
    (tmp_path / "models" / "slow.safetensors").unlink()
    load_pool(of, dataset.catalog)

    path = tmp_path / "costs.json"
    held = json.loads(path.read_text())
    path.write_text(json.dumps({**held, "schema_version": 99}))
    refused("schema 99, this version reads 1")
    path.write_text("{")
    refused("not a file of costs")


def test_a_fingerprint_follows_weights_arguments_and_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "their_scorers.py"
    module.write_text("def make(weights, catalog): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "weights"
    folder.mkdir()

    def now(**changes: Any) -> str:
        model = {"name": "theirs", "factory": "their_scorers:make", "weights": str(folder), **changes}
        of = config(tmp_path, stages=[*stages()[:1], {"name": "ranking", "pool": [model], "scales": [20]}])
        return fingerprint(of, of.stages[1].pool[0])

    seen = [now(), now(args={"depth": 3}), now(weights=str(tmp_path / "none"))]
    (folder / "part.npy").write_bytes(b"one")
    seen.append(now())
    (folder / "part.npy").write_bytes(b"two")
    seen.append(now())
    assert now() == seen[-1]
    module.write_text("def make(weights, catalog): return None\n")
    seen.append(now())
    assert len(set(seen)) == len(seen) - 1, "a missing weights file and an empty folder are alike, all else differs"


def test_what_a_scorer_says_must_be_a_number_of_flops(tmp_path: Path, data: Data) -> None:
    dataset, _ = data

    def pool(costs: str, **args: Any) -> dict[str, Scorer]:
        of = declared(
            tmp_path,
            data,
            costs=costs,
            stages=[
                {"name": "recall", "pool": [own("says", "says", **args)], "scales": "corpus"},
                {"name": "ranking", "pool": [own("also", "says")], "scales": [20]},
            ],
        )
        return load_pool(of, dataset.catalog)

    assert pool("declared")["says"].flops_per_item == 1
    for wrong in (-1, 0.5, None):
        with pytest.raises(ConfigError, match=rf"model 'says': flops_per_item is {wrong}; give a whole number"):
            pool("declared", per_item=wrong)
    with pytest.raises(ConfigError, match=r"model 'wide': a PacedCorpus does not say what it costs.*`costs: timed`"):
        load_pool(declared(tmp_path, data, costs="declared"), dataset.catalog)


@pytest.mark.parametrize(("wrong", "words"), [("nan", "a score is not finite"), ("short", "scores have shape")])
def test_a_scorer_that_breaks_its_contract_is_told_apart(tmp_path: Path, data: Data, wrong: str, words: str) -> None:
    dataset, _ = data
    of = declared(
        tmp_path,
        data,
        stages=[stages()[0], {"name": "ranking", "pool": [own("says", "says", wrong=wrong)], "scales": [20]}],
    )
    with pytest.raises(ConfigError, match=f"Says: .*{words}"):
        measure(of, dataset)
    with pytest.raises(ConfigError, match=f"Says: .*{words}"):
        train(of)


def test_without_users_there_is_nothing_to_calibrate_with(tmp_path: Path, data: Data) -> None:
    dataset, _ = data
    of = declared(tmp_path, data)
    with pytest.raises(DataError, match=r"no validation users.*data\.split\.validation"):
        calibrate(of, dataset.catalog, TableFeatures(dataset.users), np.zeros(0, np.int64))
