"""The reward models that an evaluation compares: each fitted to reward users, asked about final users' features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from greenflow_ray.chains import ChainSpace, Stage
from greenflow_ray.config import RewardConfig
from greenflow_ray.datasets import storage
from greenflow_ray.datasets.features import TableFeatures
from greenflow_ray.datasets.schema import Dataset, Split
from greenflow_ray.evaluation.plan import SAMPLES, Plan
from greenflow_ray.evaluation.work import CODE_VERSION, Grid, Loaded, grid_path, run_grid
from greenflow_ray.pricing.inputs import F32, F64
from greenflow_ray.reward.calibration import calibrate, fields_of
from greenflow_ray.reward.network.boosted import BoostedRewards
from greenflow_ray.reward.network.fitting import LoggedSamples, RewardSamples, fit
from greenflow_ray.reward.network.model import layout
from greenflow_ray.reward.teaching import describe_requests, distilled
from greenflow_ray.support.keep import digest, kept


@dataclass(frozen=True)
class Learner:
    """One way to learn rewards."""

    name: str  # as tables print it
    kind: str = "network"  # or "boosted" trees, or "logged": a network that only sees a log with one chain a request
    changes: tuple[tuple[str, Any], ...] = ()  # settings of the configuration's reward section that differ
    users: int | None = None  # fit to that many reward users; None: all
    part: str | None = None  # fit to the "older" or "newer" half of the users; None: both
    expected: bool = False  # fit to expected instead of realised clicks (synthetic set only)


GREENFLOW = Learner("GreenFlow")
BOOSTED = Learner("GreenFlow, boosted trees", "boosted")
DIRECT = Learner("network, fitted to clicks without a teacher", changes=(("teacher", "none"),))
LOGGED = Learner("network, from a log with one random chain a request", "logged")
FORESEEN = Learner("boosted trees on expected clicks", "boosted", expected=True)
FULL = {"boosted": GREENFLOW, "none": DIRECT}  # the network with everything, by its teacher
Switches = tuple[str, bool, bool, bool]  # teacher, recursive, multi_basis, monotone


def ablations(monotone: bool) -> dict[Switches, Learner]:
    """A network that is ``monotone`` or not, and what is left out or turned over of it; with and without a teacher."""
    found = {}
    for teacher, full in FULL.items():
        found[teacher, True, True, monotone] = full
        for recursive, basis, bound in (
            (True, False, monotone),
            (False, True, monotone),
            (False, False, monotone),
            (True, True, not monotone),
        ):
            name = f"recursive {recursive}, basis {basis}, monotone {bound}"
            changes = (("recursive", recursive), ("multi_basis", basis), ("monotone", bound), *full.changes)
            name += ", without a teacher" if full.changes else ""
            found[teacher, recursive, basis, bound] = Learner(name, changes=changes)
    return found


def wanted(plan: Plan, dataset: Dataset, exposure: int) -> list[Learner]:
    """The reward models of one exposure: all questions at the first, the main ones at the others."""
    chosen = [GREENFLOW, BOOSTED]
    if plan.full and exposure == plan.exposures[0]:
        chosen += [DIRECT, LOGGED, *ablations(plan.config.reward.monotone).values()]
        reward = len(dataset.users.of(Split.REWARD))
        chosen += [Learner(f"boosted trees, {n} users", "boosted", users=n) for n in SAMPLES if n < reward]
        if len(np.unique(dataset.users.since)) > 1:
            chosen += [Learner(f"boosted trees, {part} half", "boosted", part=part) for part in ("older", "newer")]
        if dataset.synthetic:
            chosen.append(FORESEEN)
    return list(dict.fromkeys(chosen))


@dataclass(frozen=True)
class Predicted:
    """What a reward model says, in expected clicks, and how well it is calibrated on validation users."""

    final: F32  # [n, J] for the final users, all cuts
    fitting: F32  # [m, J] for the reward users, if it is GreenFlow's
    calibration: F64  # Field-RCE, bias, correlation of differences between chains
    flops: int  # a request; -1: trees, which have no count


def exposed_space(space: ChainSpace, exposure: int) -> tuple[ChainSpace, npt.NDArray[np.int64]]:
    """The chains that rank at least ``exposure`` items, and their columns in ``space``."""
    last = space.stages[-1]
    scales = tuple(n for n in last.scales if n >= exposure)
    part = ChainSpace((*space.stages[:-1], Stage(last.name, last.pool, scales)))
    index = {name: j for j, name in enumerate(space.names)}
    return part, np.array([index[name] for name in part.names])


@dataclass(frozen=True)
class Material:
    """All that a learner may see of one seed: features of every split, clicks of reward and validation users."""

    loaded: Loaded
    features: dict[Split, F32]
    users: dict[Split, npt.NDArray[np.int64]]
    grids: dict[Split, Grid]
    fields: dict[str, npt.NDArray[np.int64]]

    @classmethod
    def of(cls, plan: Plan, seed: int) -> Material:
        """Gather the cuts, one after the other."""
        base = plan.of(seed, 0)
        loaded = Loaded.of(base)
        describe = describe_requests(base, loaded.dataset)
        others = [storage.load(plan.of(seed, cut).paths.data).users for cut in range(1, plan.cuts)]
        tables = [(users, TableFeatures(users)) for users in (loaded.dataset.users, *others)]
        fields = [fields_of(users, users.of(Split.VALIDATION)) for users, _ in tables]
        return cls(
            loaded,
            {s: np.concatenate([describe(table.rows(users.of(s))) for users, table in tables]) for s in Split},
            {s: np.concatenate([users.of(s) for users, _ in tables]) for s in Split},
            {s: all_cuts(plan, seed, s) for s in (Split.REWARD, Split.VALIDATION)},
            {name: np.concatenate([f[name] for f in fields]) for name in fields[0] if all(name in f for f in fields)},
        )


def all_cuts(plan: Plan, seed: int, split: Split) -> Grid:
    """A split's grids of all cuts, one after the other."""
    parts = [run_grid(plan, seed, cut, split) for cut in range(plan.cuts)]
    expected = [p.expected for p in parts]
    return Grid(
        np.concatenate([p.users for p in parts]),
        np.concatenate([p.clicks for p in parts], axis=1),
        np.concatenate(expected, axis=1) if expected[0].ndim > 1 else expected[0],
    )


_gathered: dict[str, Material] = {}


def material(plan: Plan, seed: int, key: str) -> Material:
    """:meth:`Material.of`; a worker keeps the last one, for a seed's learners come one after the other.

    ``key`` is a digest of all that is gathered: the same run may be evaluated again on other data or exposures.
    """
    if key not in _gathered:
        _gathered.clear()
        _gathered[key] = Material.of(plan, seed)
    return _gathered[key]


def predict(plan: Plan, seed: int, exposure: int, learner: Learner) -> Predicted:
    """Fit ``learner`` to reward users and ask it about the final users' features; kept while its inputs stay."""
    config = plan.of(seed, 0)
    loaded = Loaded.of(config)
    # The grids' own keys stand for reward and validation users' clicks.
    keys = [
        str(np.load(grid_path(plan, seed, cut, split), allow_pickle=False)["key"])
        for cut in range(plan.cuts)
        for split in (Split.REWARD, Split.VALIDATION)
    ]
    key = digest(loaded.digest, config.digest("reward", "seed"), repr(learner), str(exposure), str(CODE_VERSION), *keys)
    seen = digest(str(plan.config.run.resolve()), loaded.digest, *keys)
    path = config.run / "predictions" / f"{digest(repr(learner))[:16]}-{exposure}.npz"
    arrays = kept(path, key, lambda: _fit(plan, seed, exposure, learner, material(plan, seed, seen)))
    return Predicted(arrays["final"], arrays["fitting"], arrays["calibration"], int(arrays["flops"]))


def _fit(plan: Plan, seed: int, exposure: int, learner: Learner, seen: Material) -> dict[str, Any]:
    e = plan.exposures.index(exposure)
    space, columns = exposed_space(seen.loaded.space, exposure)
    reward, validation = seen.grids[Split.REWARD], seen.grids[Split.VALIDATION]
    clicks = (reward.expected if learner.expected else reward.clicks)[e][:, columns]
    rows = _chosen_rows(seen, learner, seed)
    x, y = seen.features[Split.REWARD][rows], clicks[rows]
    checked = RewardSamples(seen.features[Split.VALIDATION], validation.clicks[e][:, columns])
    settings = RewardConfig.model_validate({**plan.config.reward.model_dump(), **dict(learner.changes)})
    flops = -1
    if learner.kind == "boosted":
        evaluate = BoostedRewards.fit(x, y, seed).evaluate
    else:
        train: RewardSamples | LoggedSamples = RewardSamples(x, y)
        if learner.kind == "logged":
            chain = np.random.default_rng([seed, 0x106]).integers(len(space), size=len(x))
            earned = y[np.arange(len(x)), chain]
            train = LoggedSamples(x, chain, earned, np.full(len(x), 1 / len(space)))
        elif settings.teacher == "boosted":
            train = distilled(BoostedRewards.fit(x, y, seed), x, seen.features[Split.TRAIN])
        net = fit(layout(space), train, checked, settings, seed)
        evaluate, flops = net.evaluate, net.flops_per_request
    quality = calibrate(checked.clicks, evaluate(checked.features), seen.fields)
    return {
        "final": evaluate(seen.features[Split.FINAL]),
        # Only the policy that serves is asked about the users that it was fitted to, to tune CRAS and DCAF by it.
        "fitting": evaluate(seen.features[Split.REWARD]) if learner == GREENFLOW else np.zeros((0, len(space)), "f4"),
        "calibration": np.array([quality.field_rce, quality.bias, quality.spread_correlation]),
        "flops": np.array(flops),
    }


def _chosen_rows(seen: Material, learner: Learner, seed: int) -> npt.NDArray[np.int64]:
    """Rows of the reward users that ``learner`` may see; whole users, with all their cuts."""
    users = seen.users[Split.REWARD]
    distinct = np.unique(users)
    if learner.part is not None:
        by_age = distinct[
            np.argsort(seen.loaded.dataset.users.since[distinct], kind="stable")
        ]  # halves even where many came at one time
        newer = len(by_age) // 2
        distinct = by_age[-newer:] if learner.part == "newer" else by_age[:-newer]
    if learner.users is not None:
        distinct = np.random.default_rng([seed, 0x5A3]).permutation(distinct)[: learner.users]
    return np.flatnonzero(np.isin(users, distinct))
