"""`greenflow evaluate`: data, seeds of models, rewards under all chains, decisions, and only then the final clicks."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import replace
from typing import Any

import numpy as np

from greenflow_ray.config import CascadeConfig
from greenflow_ray.console import Terminal
from greenflow_ray.datasets.prepare import prepare
from greenflow_ray.datasets.schema import Dataset, Split
from greenflow_ray.evaluation import learners, page, picture, tables
from greenflow_ray.evaluation.arena import GREENFLOW, Arena, Corner
from greenflow_ray.evaluation.document import compose
from greenflow_ray.evaluation.learners import Learner, Predicted
from greenflow_ray.evaluation.plan import CURVE, EARLY, JUDGED, SAMPLES, SHARES, Plan
from greenflow_ray.evaluation.schema import Evaluation
from greenflow_ray.evaluation.terminal import print_evaluation
from greenflow_ray.evaluation.work import Grid, Loaded, run_grid, train_model
from greenflow_ray.files import whole
from greenflow_ray.progress import Progress

Task = tuple[Callable[..., Any], tuple[Any, ...]]


def evaluate(wanted: Plan, terminal: Terminal, command: str, *, workers: int | None = None) -> Evaluation:
    """Run or resume a plan; writes ``evaluation.json``, CSV files, page and picture, and returns the document.

    Every policy decides from features and from the reward and validation users' clicks. The final users' clicks are
    read once, after the last policy of the last seed has decided. Data with times has one cut, whatever is wanted.
    """
    began = time.monotonic()
    terminal.step("1/5 Data")
    with terminal.progress() as progress:
        dataset = prepare(wanted.of(wanted.seeds[0], 0), progress=progress)
        plan = replace(wanted, cuts=1) if dataset.ordered else wanted
        for cut in range(1, plan.cuts):
            prepare(plan.of(plan.seeds[0], cut), progress=progress)
    plan.config.check_corpus(len(dataset.catalog))
    with Workers(workers) as pool:
        terminal.step(f"2/5 Models: seeds {', '.join(map(str, plan.seeds))}")
        pool.run(terminal, model_tasks(plan), "training models")
        terminal.step("3/5 Rewards of all chains: reward and validation users")
        pool.run(terminal, grid_tasks(plan, (Split.REWARD, Split.VALIDATION)), "running all chains")
        terminal.step("4/5 Reward models, and every policy's decisions")
        pool.run(terminal, learner_tasks(plan, dataset), "fitting reward models")
        arenas = decide(plan, dataset, terminal)
        # Only here do the final users' clicks come in.
        terminal.step("5/5 Final users")
        pool.run(terminal, grid_tasks(plan, (Split.FINAL,)), "running all chains")
    finals = {s: learners.join([run_grid(plan, s, c, Split.FINAL) for c in range(plan.cuts)]) for s in plan.seeds}
    reveal(arenas, finals, plan)
    with terminal.progress() as progress:
        document = compose(plan, dataset, arenas, finals, command, began, progress)
    write(plan.config, document)
    print_evaluation(document, terminal)
    terminal.say(f"written to {plan.config.run / 'evaluation.json'} and {plan.config.run / 'evaluation.html'}")
    return document


class Workers:
    """Processes that share the cores, each with one thread: on two cores two tasks beat one task with two threads."""

    def __init__(self, count: int | None) -> None:
        self._count = count or len(os.sched_getaffinity(0))
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        if self._count > 1:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._count, mp_context=context, initializer=_one_thread)
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def run(self, terminal: Terminal, tasks: list[Task], label: str) -> None:
        """Run all tasks, in any order, with a bar."""
        with terminal.progress() as progress:
            if self._pool is None:
                for done, (function, arguments) in enumerate(tasks):
                    function(*arguments)
                    _show(progress, label, done + 1, len(tasks))
                return
            futures: list[Future[Any]] = [self._pool.submit(_quietly, function, *a) for function, a in tasks]
            try:
                for done, future in enumerate(as_completed(futures)):
                    future.result()
                    _show(progress, label, done + 1, len(tasks))
            except BaseException:
                for future in futures:
                    future.cancel()
                raise


def _show(progress: Progress, label: str, done: int, of: int) -> None:
    progress(f"{label}: {done} of {of}", done / of)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _quietly(function: Callable[..., Any], *arguments: Any) -> None:
    """Run a task for what it leaves on disk; its result is not sent back."""
    function(*arguments)


def model_tasks(plan: Plan) -> list[Task]:
    """The dearest models first, so that no worker is left with one at the end."""
    stages = reversed(plan.config.stages)
    names = [model.name for stage in stages for model in stage.pool]
    return [(train_model, (plan.of(seed, 0), name)) for name in names for seed in plan.seeds]


def grid_tasks(plan: Plan, splits: Iterable[Split]) -> list[Task]:
    """One task a seed, cut and split."""
    return [(run_grid, (plan, seed, cut, s)) for s in splits for seed in plan.seeds for cut in range(plan.cuts)]


def wanted_learners(plan: Plan, dataset: Dataset, exposure: int) -> list[Learner]:
    """The reward models of one exposure: all questions at the first, the main ones at the others."""
    chosen = [learners.GREENFLOW, learners.BOOSTED]
    if not plan.full or exposure != plan.exposures[0]:
        return chosen
    chosen += [learners.DIRECT, learners.LOGGED, *learners.ABLATIONS.values()]
    reward = len(dataset.users.of(Split.REWARD))
    chosen += [sized(n) for n in SAMPLES if n < reward]
    if len(np.unique(dataset.users.since)) > 1:
        chosen += [aged("older"), aged("newer")]
    if dataset.synthetic:
        chosen.append(learners.FORESEEN)
    return chosen


def sized(users: int) -> Learner:
    """Boosted trees that see so many reward users."""
    return Learner(f"boosted trees, {users} users", "boosted", users=users)


def aged(part: str) -> Learner:
    """Boosted trees that see the older or the newer half of the reward users."""
    return Learner(f"boosted trees, {part} half", "boosted", part=part)


def learner_tasks(plan: Plan, dataset: Dataset) -> list[Task]:
    """One task a seed, exposure and reward model; a seed's tasks lie together, for they share what they load."""
    return [
        (learners.predict, (plan, seed, exposure, learner))
        for seed in plan.seeds
        for exposure in plan.exposures
        for learner in wanted_learners(plan, dataset, exposure)
    ]


def decide(plan: Plan, dataset: Dataset, terminal: Terminal) -> dict[int, Arena]:
    """All policies' decisions at every exposure, from what may be known before the final users' clicks."""
    arenas: dict[int, Arena] = {}
    total = len(plan.exposures) * len(plan.seeds)
    with terminal.progress() as progress:
        for exposure in plan.exposures:
            corners = []
            for seed in plan.seeds:
                corners.append(corner(plan, dataset, seed, exposure))
                progress("allocating", (len(arenas) * len(plan.seeds) + len(corners)) / total)
            arenas[exposure] = Arena(exposure, corners)
    return arenas


def corner(plan: Plan, dataset: Dataset, seed: int, exposure: int) -> Corner:
    """One seed's policies at one exposure."""
    loaded = Loaded.of(plan.of(seed, 0))
    space, columns = learners.exposed_space(loaded.space, exposure)
    grids = [run_grid(plan, seed, cut, Split.REWARD) for cut in range(plan.cuts)]
    clicks = learners.join(grids).clicks[plan.exposures.index(exposure)][:, columns]
    found: dict[str, Predicted] = {
        learner.name: learners.predict(plan, seed, exposure, learner)
        for learner in wanted_learners(plan, dataset, exposure)
    }
    ids = dataset.users.user_ids[dataset.users.of(Split.FINAL)]
    here = Corner(
        space=space,
        columns=columns,
        clicks=clicks,
        fitting=found[GREENFLOW].fitting,
        predicted={name: p.final for name, p in found.items()},
        user_ids=np.tile(ids, plan.cuts),
        quality={name: (p.calibration, p.flops) for name, p in found.items()},
    )
    here.compete(EARLY, SHARES, CURVE)
    if plan.full:
        for name, part in ranker_pools(space).items():
            here.restrict(name, SHARES, part)
        for name, part in chain_parts(space).items():
            here.restrict(f"GreenFlow, {name}", JUDGED, part)
            here.restrict(f"GLOBAL, {name}", JUDGED, part, mixed=True)
    return here


def ranker_pools(space: Any) -> dict[str, Any]:
    """Columns with one ranker only, by the policy's name."""
    last = space.stages[-1]
    if len(last.pool) < 2:
        return {}
    return {f"GreenFlow, only {m.name}": np.flatnonzero(space.models[:, -1] == i) for i, m in enumerate(last.pool)}


def chain_parts(space: Any) -> dict[str, Any]:
    """Coarser chain spaces: every 2nd, 4th, 8th item scale of the last two stages, the widest always among them."""
    parts = {}
    for step in (8, 4, 2):
        kept = np.ones(len(space), dtype=bool)
        for k in (-2, -1):
            scales = np.array(sorted(space.stages[k].scales))
            kept &= np.isin(space.items[:, k], scales[::-1][::step]) | (space.items[:, k] == scales[0])
        parts[f"{int(kept.sum())} chains"] = np.flatnonzero(kept)
    return {name: part for name, part in parts.items() if 1 < len(part) < len(space)}


def reveal(arenas: dict[int, Arena], finals: dict[int, Grid], plan: Plan) -> None:
    """Score the decisions."""
    first = finals[plan.seeds[0]]
    _, user = np.unique(first.users, return_inverse=True)
    for exposure, arena in arenas.items():
        e = plan.exposures.index(exposure)
        arena.reveal(
            [finals[seed].clicks[e][:, c.columns] for seed, c in zip(plan.seeds, arena.corners, strict=True)], user
        )
        arena.add_oracle(SHARES)


def write(config: CascadeConfig, document: Evaluation) -> None:
    """JSON, CSV, page and picture; each appears whole or not at all."""
    with whole(config.run / "evaluation.json") as part:
        part.write_text(document.to_json(), encoding="utf-8")
    tables.write_csv(document, config.run / "evaluation")
    page.save(page.render(document), config.run / "evaluation.html")
    if document.results[0].waterfalls:
        picture.save_png(document, config.run / "evaluation.png")
