from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from greenflow_ray.datasets.features import TableFeatures
from greenflow_ray.datasets.schema import RequestBatch
from greenflow_ray.models.scorer import CorpusScorer
from greenflow_ray.ragged import Ragged
from greenflow_ray.serving.stages.core import BadScores, StageCore, score_together
from greenflow_ray.serving.wire import StageBatch, StageRows
from tests.serving.fakes import BROKEN_USER, WholeCorpus, WorldScorer
from tests.worlds import make_world

WORLD = make_world()
CATALOG = WORLD.dataset.catalog
USERS = np.array([5, 11, 10**12])
N = len(CATALOG)


def core(scorer: WorldScorer) -> StageCore:
    return StageCore(scorer, CATALOG, TableFeatures(WORLD.dataset.users))


def first(scale: int, keep: int = 100) -> StageBatch:
    return StageBatch(USERS, None, scale, np.full(len(USERS), keep))


def test_recall_leaves_out_what_the_user_has_had() -> None:
    assert len(WORLD.dataset.users.history.row(5)) == 5
    rows = core(WholeCorpus("dssm"))(first(N))
    for i, user in enumerate((5, 11)):
        seen = set(WORLD.dataset.users.history.row(user).tolist())
        assert set(rows.items.row(i).tolist()) == set(range(N)) - seen
    assert len(rows.items.row(2)) == N, "nobody knows this user, so nothing is left out"


def test_a_scorer_without_the_corpus_shortcut_gives_the_same() -> None:
    plain = WorldScorer("dssm")
    assert not isinstance(plain, CorpusScorer)
    a, b = core(plain)(first(N, 9)), core(WholeCorpus("dssm"))(first(N, 9))
    np.testing.assert_array_equal(a.items.values, b.items.values)
    np.testing.assert_array_equal(a.scores, b.scores)


def test_a_smaller_scale_scores_the_most_popular_items() -> None:
    rows = core(WholeCorpus("dssm"))(first(20))
    popular = CATALOG.by_popularity()[:20].tolist()
    for i, user in enumerate((5, 11)):
        seen = set(WORLD.dataset.users.history.row(user).tolist())
        table = WORLD.pool["dssm"].table[user]
        expected = sorted((item for item in popular if item not in seen), key=lambda item: -table[item])
        assert rows.items.row(i).tolist() == expected
        np.testing.assert_array_equal(rows.scores[rows.items.offsets[i] : rows.items.offsets[i + 1]], table[expected])


def test_the_model_keeps_its_own_scores() -> None:
    scorer = WholeCorpus("dssm")
    before = scorer.table.copy()
    core(scorer)(first(N))
    np.testing.assert_array_equal(scorer.table, before)


class Wrong(WorldScorer):
    def __init__(self, value: float, extra: int) -> None:
        super().__init__("ydnn")
        self.value, self.extra = value, extra

    def score(self, requests: RequestBatch, candidates: Ragged) -> npt.NDArray[np.float32]:
        return np.full(len(candidates.values) + self.extra, self.value, dtype=np.float32)


@pytest.mark.parametrize(("value", "extra"), [(np.nan, 0), (np.inf, 0), (1.0, 1)])
def test_scores_that_are_not_one_finite_number_an_item_are_refused(value: float, extra: int) -> None:
    batch = StageBatch(USERS, Ragged.from_rows([[1], [2, 3], []]), 0, np.array([1, 1, 1]))
    with pytest.raises(BadScores):
        core(Wrong(value, extra))(batch)


def test_messages_scored_together_get_what_each_gets_alone() -> None:
    each = core(WholeCorpus("ydnn"))
    seen: list[int] = []

    def watched(batch: StageBatch) -> StageRows:
        seen.append(len(batch.user_ids))
        return each(batch)

    later = [
        StageBatch(USERS[:2], Ragged.from_rows([[1, 2, 3], [4]]), 0, np.array([2, 9])),
        StageBatch(USERS[2:], Ragged.from_rows([[9, 8]]), 0, np.array([1])),
    ]
    messages = [first(N, 3), later[0], first(20, 3), later[1], first(N, 7)]
    together = score_together(watched, messages)
    assert sorted(seen) == [3, 3, 6], "one call for each kind: whole corpus, twenty most popular, candidates"
    for message, got in zip(messages, together, strict=True):
        assert not isinstance(got, Exception)
        wanted = each(message)
        for a, b in ((got.items.values, wanted.items.values), (got.items.offsets, wanted.items.offsets)):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(got.scores, wanted.scores)


def test_one_bad_message_does_not_spoil_the_others() -> None:
    each = core(WorldScorer("din"))  # breaks on one user
    messages = [
        StageBatch(np.array([user]), Ragged.from_rows([[1, 2]]), 0, np.array([2])) for user in (1, BROKEN_USER, 2)
    ]
    good, bad, other = score_together(each, messages)
    assert isinstance(bad, RuntimeError)
    for got, message in ((good, messages[0]), (other, messages[2])):
        assert not isinstance(got, Exception)
        np.testing.assert_array_equal(got.items.values, each(message).items.values)


def test_popularity_breaks_ties_by_index() -> None:
    order = CATALOG.by_popularity()
    popularity = CATALOG.popularity[order]
    assert sorted(order.tolist()) == list(range(N))
    assert (np.diff(popularity) <= 0).all()
