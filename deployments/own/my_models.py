"""Three scorers of a team's own, two of them scikit-learn's, and what fits them: `python my_models.py RUN`."""

import sys
from pathlib import Path

import joblib
import numpy as np
from scipy.sparse import csr_matrix
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import HistGradientBoostingRegressor

from greenflow_ray.datasets import storage
from greenflow_ray.datasets.features import TableFeatures
from greenflow_ray.datasets.schema import Split
from greenflow_ray.ragged import Ragged


def users_of(vectors, requests):
    """Each user as the sum of what they clicked, [B, d]."""
    users = np.zeros((len(requests), vectors.shape[1]), np.float32)
    np.add.at(users, requests.history.row_ids, vectors[requests.history.values])
    return users


def describe(vectors, popularity, requests, candidates):
    """For each candidate: likeness to its user's history, popularity, length of the history; [total, 3]."""
    rows, items = candidates.row_ids, candidates.values
    likeness = np.einsum("ij,ij->i", users_of(vectors, requests)[rows], vectors[items])
    return np.column_stack([likeness, popularity[items], requests.history.lengths[rows]])


class Likeness:
    """Recall: item vectors from a truncated SVD of users × items."""

    def __init__(self, weights, catalog):
        self.vectors, self.popularity = np.load(weights), catalog.popularity

    def score(self, requests, candidates):
        """One finite score for each candidate of each request, float32 [total]: the one method that a model needs."""
        return describe(self.vectors, self.popularity, requests, candidates)[:, 0].astype(np.float32)

    def score_corpus(self, requests):
        """If recall can do it faster for all items: float32 [B, n_items]."""
        return users_of(self.vectors, requests) @ self.vectors.T


class Blend(Likeness):
    """Pre-ranking: likeness and popularity, weighed by hand."""

    def __init__(self, weights, catalog, popular):
        super().__init__(weights, catalog)
        self.weigh = np.array([1, popular, 0])

    def score(self, requests, candidates):
        """float32 [total]."""
        return (describe(self.vectors, self.popularity, requests, candidates) @ self.weigh).astype(np.float32)


class Trees:
    """Ranking: gradient-boosted trees over the same features."""

    def __init__(self, weights, catalog):
        self.trees, self.vectors = joblib.load(weights)
        self.popularity = catalog.popularity

    def score(self, requests, candidates):
        """float32 [total]."""
        return self.trees.predict(describe(self.vectors, self.popularity, requests, candidates)).astype(np.float32)


def fit(run):
    """Fit on training users: what they clicked, against items drawn at random."""
    data, clicks = storage.load(run / "data"), storage.load_clicks(run / "data", Split.TRAIN)
    n, items, popularity = len(clicks.items.values), clicks.items, data.catalog.popularity
    clicked = csr_matrix((np.ones(n), (items.row_ids, items.values)), (len(items), len(data.catalog)))
    vectors = TruncatedSVD(16, random_state=0).fit(clicked).components_.T.astype(np.float32)
    random = Ragged(np.random.default_rng(0).integers(0, len(data.catalog), n), items.offsets)
    requests = TableFeatures(data.users).rows(clicks.users)
    x = np.concatenate([describe(vectors, popularity, requests, rows) for rows in (items, random)])
    trees = HistGradientBoostingRegressor(max_iter=50, random_state=0).fit(x, np.repeat([1, 0], n))
    (run / "models").mkdir(exist_ok=True)
    np.save(run / "models" / "vectors.npy", vectors)
    joblib.dump((trees, vectors), run / "models" / "trees.joblib")


if __name__ == "__main__" and sys.argv[1:]:
    fit(Path(sys.argv[1]))
