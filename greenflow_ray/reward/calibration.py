"""How far predicted rewards lie from realised clicks: Field-RCE (paper, equation 14) and its parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from greenflow_ray.datasets.schema import I64, Array, Users


@dataclass(frozen=True)
class Calibration:
    """Calibration of a reward model on users it was not fitted to."""

    field_rce: float  # mean over fields of the field-level relative calibration error; 0 is perfect
    fields: dict[str, float]  # the error of each field
    bias: float  # predicted ÷ realised clicks over all users and chains
    # of predicted and realised *differences between a user's chains*, which is all that the choice of one depends on
    spread_correlation: float
    users: int  # how many users it was measured on


def field_rce(realised: Array, predicted: Array, values: Array) -> float:
    """``(1/|D|) sum_z |D_z| |sum_{D_z} (y - yhat)| / sum_{D_z} y`` over the values z of one field.

    ``realised`` and ``predicted`` are ``[n]`` or ``[n, J]``, ``values`` is ``[n]``. Values of the field whose users
    realised no click at all have no relative error and are left out, of ``|D|`` too.
    """
    y = np.asarray(realised, dtype=np.float64).reshape(len(values), -1).sum(axis=1)
    error = y - np.asarray(predicted, dtype=np.float64).reshape(len(values), -1).sum(axis=1)
    _, group = np.unique(values, return_inverse=True)
    size, clicks, gap = (np.bincount(group, w) for w in (None, y, error))
    some = clicks > 0
    if not some.any():
        return float("nan")
    return float(np.sum(size[some] * np.abs(gap[some]) / clicks[some]) / size[some].sum())


def fields_of(users: Users, rows: I64) -> dict[str, I64]:
    """Fields to calibrate by: each context field (a user's first token of it), and fifths of history length."""
    names = np.array([name.split("=", 1)[0] for name in users.vocabulary])
    tokens = users.tokens.take(rows)
    lengths = users.history.lengths[rows]
    edges = np.quantile(lengths, [0.2, 0.4, 0.6, 0.8])
    fields = {"history_length": np.searchsorted(edges, lengths)}
    for name in dict.fromkeys(names.tolist()):
        value = np.full(len(rows), -1, dtype=np.int64)
        mine = names[tokens.values] == name
        value[tokens.row_ids[mine][::-1]] = tokens.values[mine][::-1]
        if len(np.unique(value)) > 1:
            fields[name] = value
    return fields


def calibrate(realised: Array, predicted: Array, fields: dict[str, I64]) -> Calibration:
    """Compare ``[n, J]`` realised clicks with predictions for the same users and chains."""
    y, p = (np.asarray(a, dtype=np.float64) for a in (realised, predicted))
    each = {name: field_rce(y, p, values) for name, values in fields.items()}
    dy, dp = y - y.mean(axis=1, keepdims=True), p - p.mean(axis=1, keepdims=True)
    norm = np.sqrt((dy**2).sum() * (dp**2).sum())
    return Calibration(
        field_rce=float(np.nanmean(list(each.values()))),
        fields=each,
        bias=float(p.sum() / max(y.sum(), 1e-12)),
        spread_correlation=float((dy * dp).sum() / norm) if norm > 0 else 0.0,
        users=len(y),
    )
