"""PDLP on one pricing problem, in a process of its own: ortools and highspy cannot be imported together.

Reads an .npz with rewards, costs and budget; prints one line of JSON: seconds, objective, price.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import scipy.sparse as sp
from ortools.pdlp import solve_log_pb2, solvers_pb2
from ortools.pdlp.python import pdlp


def main(path: str, tolerance: float) -> None:
    data = np.load(path)
    rewards, costs, budget = data["rewards"].astype(float), data["costs"], float(data["budget"])
    n, width = rewards.shape
    scale = float(costs.max())
    columns = np.arange(n * width)
    rows = np.concatenate([np.repeat(np.arange(n), width), np.full(n * width, n)])
    values = np.concatenate([np.ones(n * width), np.tile(costs / scale, n)])
    program = pdlp.QuadraticProgram()
    program.resize_and_initialize(n * width, n + 1)
    program.objective_vector = -rewards.ravel()
    program.constraint_matrix = sp.csc_matrix((values, (rows, np.concatenate([columns, columns]))), (n + 1, n * width))
    program.constraint_lower_bounds = np.concatenate([np.ones(n), [-np.inf]])
    program.constraint_upper_bounds = np.concatenate([np.ones(n), [budget / scale]])
    program.variable_lower_bounds = np.zeros(n * width)
    program.variable_upper_bounds = np.full(n * width, np.inf)
    params = solvers_pb2.PrimalDualHybridGradientParams()
    params.num_threads = 2
    params.termination_criteria.simple_optimality_criteria.eps_optimal_relative = tolerance
    params.termination_criteria.simple_optimality_criteria.eps_optimal_absolute = tolerance
    params.termination_criteria.time_sec_limit = 300.0
    began, worked = time.perf_counter(), time.process_time()
    result = pdlp.primal_dual_hybrid_gradient(program, params)
    seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    reason = solve_log_pb2.TerminationReason.Name(result.solve_log.termination_reason)
    reward = float(rewards.ravel() @ result.primal_solution)
    iterations = result.solve_log.iteration_count
    print(json.dumps({"seconds": seconds, "cpu_s": cpu, "reward": reward, "iterations": iterations, "end": reason}))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
