"""`greenflow evaluate`: data, seeds of models, rewards under all chains, decisions, and only then the final clicks."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

import numpy as np

from greenflow_ray.config import CascadeConfig
from greenflow_ray.datasets.preparation import prepare
from greenflow_ray.datasets.schema import Dataset, Split
from greenflow_ray.evaluation.contest import learners
from greenflow_ray.evaluation.contest.arena import Arena, Corner
from greenflow_ray.evaluation.findings.document import compose
from greenflow_ray.evaluation.findings.shape import Evaluation
from greenflow_ray.evaluation.plan import SHARES, Plan
from greenflow_ray.evaluation.telling import csv_tables, page, words
from greenflow_ray.evaluation.work import Grid, Task, Workers, measure_costs, run_grid
from greenflow_ray.models.training.train import train
from greenflow_ray.support.files import whole
from greenflow_ray.support.terminal import Terminal
from greenflow_ray.viz import pages


def evaluate(wanted: Plan, terminal: Terminal, command: str, *, workers: int | None = None) -> Evaluation:
    """Run or resume a plan; writes ``evaluation.json``, CSV files, page and picture, and returns the document.

    Every policy decides from features and from the reward and validation users' clicks. The final users' clicks are
    read after the last policy of the last seed has decided (and, where data prepared earlier is taken up again, for its
    checksum). Data with times has one cut, whatever is wanted.
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
        if plan.config.costs != "declared":
            with terminal.progress() as progress:
                measure_costs(plan, dataset, progress)
        terminal.step("3/5 Rewards of all chains: reward and validation users")
        pool.run(terminal, grid_tasks(plan, Split.REWARD, Split.VALIDATION), "running all chains")
        terminal.step("4/5 Reward models, and every policy's decisions")
        # A seed's tasks lie together, for they share what they load.
        fits: list[Task] = [
            partial(learners.predict, plan, seed, exposure, learner)
            for seed in plan.seeds
            for exposure in plan.exposures
            for learner in learners.wanted(plan, dataset, exposure)
        ]
        pool.run(terminal, fits, "fitting reward models")
        arenas = decide(plan, dataset, terminal)
        # Only here do the final users' clicks come in.
        terminal.step("5/5 Final users")
        pool.run(terminal, grid_tasks(plan, Split.FINAL), "running all chains")
    finals = {seed: learners.all_cuts(plan, seed, Split.FINAL) for seed in plan.seeds}
    reveal(arenas, finals, plan)
    with terminal.progress() as progress:
        document = compose(plan, dataset, arenas, finals, command, began, progress)
    write(plan.config, document)
    page.print_evaluation(document, terminal)
    terminal.say(f"written to {plan.config.run / 'evaluation.json'} and {plan.config.run / 'evaluation.html'}")
    return document


def model_tasks(plan: Plan) -> list[Task]:
    """The dearest models first, so that no worker is left with one at the end."""
    names = [model.name for stage in reversed(plan.config.stages) for model in stage.pool]
    return [partial(train, plan.of(seed, 0), only={name}) for name in names for seed in plan.seeds]


def grid_tasks(plan: Plan, *splits: Split) -> list[Task]:
    """One task a seed, cut and split."""
    return [partial(run_grid, plan, seed, cut, s) for s in splits for seed in plan.seeds for cut in range(plan.cuts)]


def decide(plan: Plan, dataset: Dataset, terminal: Terminal) -> dict[int, Arena]:
    """All policies' decisions at every exposure, from what may be known before the final users' clicks."""
    arenas: dict[int, Arena] = {}
    with terminal.progress() as progress:
        for i, exposure in enumerate(plan.exposures):
            corners = []
            for seed in plan.seeds:
                corners.append(Corner.of(plan, dataset, seed, exposure))
                progress("allocating", (i + len(corners) / len(plan.seeds)) / len(plan.exposures))
            arenas[exposure] = Arena(exposure, corners)
    return arenas


def reveal(arenas: dict[int, Arena], finals: dict[int, Grid], plan: Plan) -> None:
    """Score the decisions."""
    _, user = np.unique(finals[plan.seeds[0]].users, return_inverse=True)
    for e, arena in enumerate(arenas.values()):
        arena.reveal([finals[s].clicks[e][:, c.columns] for s, c in zip(plan.seeds, arena.corners, strict=True)], user)
        arena.add_oracle(SHARES)


def write(config: CascadeConfig, document: Evaluation) -> None:
    """JSON, CSV, page and picture; each appears whole or not at all."""
    with whole(config.run / "evaluation.json") as part:
        part.write_text(document.to_json(), encoding="utf-8")
    csv_tables.write_csv(document, config.run / "evaluation")
    pages.save(page.render(document), config.run / "evaluation.html")
    (config.run / "evaluation.png").unlink(missing_ok=True)  # an earlier run's, where this one has no waterfall
    if words.first_waterfall(document) is not None:
        page.save_png(document, config.run / "evaluation.png")
