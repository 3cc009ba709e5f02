"""The reward model as serving runs it: one compiled kernel over float32 arrays, without torch and without gradients.

The numbers are those of :class:`.model.RewardNet` to rounding. What does not depend on the request
is worked out at load: the step's halves for state and context, with the model's embedding and bias in one constant;
all heads of a stage side by side; and which (prefix, own item scale, earlier item scales) occur, so that chains which
share one share its uplift.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from greenflow_ray.datasets.schema import F32, Array
from greenflow_ray.reward.network.model import BASES, BOOST, UNBOUND, UNIT, RewardNet, StageUplift
from greenflow_ray.support.jit import fused

F = TypeVar("F", bound=Callable[..., object])

KINDS = ("identity", *BASES)  # basis functions; the kernel knows each by its place
CHUNK = 16  # requests that are worked on together: their intermediate numbers stay in the processor's cache


class FastReward:
    """A trained network's rewards on arrays; what is done to the network later does not change them.

    ``flops_per_request``: multiply-adds of the dense layers as they are run here, counted as two, for one request.
    """

    def __init__(self, net: RewardNet) -> None:
        stages = net.uplifts
        first, second = (layer for layer in net.trunk if isinstance(layer, nn.Linear))
        hidden = second.out_features
        steps = [_array(stage.step.weight.T) for stage in stages]
        heads = [_heads(stage) for stage in stages]
        distinct = [_distinct(stage) for stage in stages]
        prefixes = [len(stage.stage.models) for stage in stages]
        sizes = [
            (count, stage.stage.scales, *stage.stage.codes.T.shape, parts.shape[1], len(bias))
            for count, stage, (parts, _), (_, bias) in zip(prefixes, stages, distinct, heads, strict=True)
        ]
        self._arrays = (
            _array(net.mean),
            _array(first.weight.T.double() / net.deviation.double()[:, None]),
            _array(first.bias),
            _array(second.weight.T),
            _array(second.bias),
            np.ascontiguousarray(np.concatenate([step[hidden:] for step in steps], axis=1)),
            np.stack([step[:hidden] for step in steps]),
            _stack([_constant(stage) for stage in stages]),
            np.concatenate([weight.reshape(-1) for weight, _ in heads]),
            _stack([bias for _, bias in heads]),
            _stack([stage.stage.parents.astype(np.uint32) for stage in stages]),
            _stack([stage.codes.numpy() for stage in stages]),
            _stack([parts for parts, _ in distinct]),
            np.stack([chains for _, chains in distinct]),
            np.array(sizes, dtype=np.int64),
            np.array([KINDS.index(name) for name in stages[0].bases], dtype=np.int64),
        )
        self._switches = (net.recursive, stages[0].monotone, np.float32(net.scale.item()))
        self._inputs, self._chains = first.in_features, len(stages[0].prefix)
        states = sum(prefixes[:-1]) if net.recursive else 0
        count = first.weight.numel() + second.weight.numel() + hidden * hidden * (len(stages) + states)
        for many, stage, (weight, _) in zip(prefixes, stages, heads, strict=True):
            count += many * (weight.size + len(stage.bases) * stage.stage.codes.size)
        self.flops_per_request = 2 * count

    def evaluate(self, features: F32) -> F32:
        """Features, float32 ``[B, F]``, to rewards in expected clicks, float32 ``[B, J]``; NaN gives a row of NaN."""
        if features.shape[1] != self._inputs:
            raise ValueError(f"features: {features.shape[1]} columns, the network was fitted to {self._inputs}")
        out = np.empty((len(features), self._chains), dtype=np.float32)
        _evaluate(features, *self._arrays, *self._switches, out)
        return out


def _array(tensor: Tensor) -> F32:
    """A contiguous float32 copy."""
    return np.array(tensor.detach().numpy(), dtype=np.float32, order="C")


def _heads(stage: StageUplift) -> tuple[F32, F32]:
    """Weights ``[H, W]`` and biases ``[W]`` of all heads: weight, start, steps, lifts."""
    heads = [h for h in (stage.weight, stage.start, stage.rise, stage.boost) if h is not None]
    return _array(torch.cat([h.weight for h in heads]).T), _array(torch.cat([h.bias for h in heads]))


def _constant(stage: StageUplift) -> F32:
    """What the step adds for each prefix whatever the request: its last model's embedding, and the bias."""
    weight = stage.step.weight[:, : stage.embed.embedding_dim].double()
    return _array(stage.embed(stage.models).double() @ weight.T + stage.step.bias)


def _distinct(stage: StageUplift) -> tuple[Array, Array]:
    """The distinct uplifts: their rows in weights, levels and factors, ``[3, C]``, and each chain's uplift, ``[J]``."""
    rows = torch.stack([stage.prefix, stage.own, stage.earlier]).numpy()
    parts, chains = np.unique(rows, axis=1, return_inverse=True)
    return parts.astype(np.uint32), chains.reshape(-1).astype(np.uint32)


def _stack(arrays: Sequence[Array]) -> Array:
    """One array over arrays of unequal shape, zeros where one ends."""
    out = np.zeros((len(arrays), *np.max([a.shape for a in arrays], axis=0)), dtype=arrays[0].dtype)
    for row, array in zip(out, arrays, strict=True):
        row[tuple(slice(n) for n in array.shape)] = array
    return out


# Numba takes every plain number for a float64: constants are float32 by name. The elementary functions have no branches
# and call no library, so that loops over them become vector instructions; each is good to some units in the last place.

_ZERO, _HALF, _ONE, _TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
_LOWEST = np.float32(-87)
_HIGHEST = np.float32(3e38)
_LOG2_E = np.float32(1.4426950408889634)
_LN2_HIGH, _LN2_LOW = np.float32(0.693145751953125), np.float32(1.428606820309417e-6)
_E2, _E3, _E4, _E5, _E6, _E7 = (np.float32(1 / n) for n in (2, 6, 24, 120, 720, 5040))
_L1, _L2, _L3, _L4 = (np.float32(c) for c in (0.66666662693, 0.40000972152, 0.28498786688, 0.24279078841))
_BOOST, _UNBOUND, _UNIT = np.float32(BOOST), np.float32(UNBOUND), np.float32(UNIT)
_LOG1P, _TANH, _RATIO, _EXP, _SQRT = (KINDS.index(name) for name in ("log1p", "tanh", "ratio", "exp", "sqrt"))
_BIAS, _MANTISSA, _ROOT = np.int32(127), np.int32(0x7FFFFF), np.int32(0x3F3504F3)
_SHIFT, _OFFSET = np.int32(23), np.int32(0x3F800000 - 0x3F3504F3)


@fused
def _power(x: Any) -> Any:
    """``s`` and ``p`` with ``exp(x) = s + s * p``, ``s`` a power of two, for ``x <= 0``; NaN counts as the lowest."""
    x = x if x > _LOWEST else _LOWEST
    power = np.floor(x * _LOG2_E + _HALF)
    r = (x - power * _LN2_HIGH) - power * _LN2_LOW
    p = r + r * r * (_E2 + r * (_E3 + r * (_E4 + r * (_E5 + r * (_E6 + r * _E7)))))
    return np.int32((np.int32(power) + _BIAS) << _SHIFT).view(np.float32), p


@fused
def _expm1(x: Any) -> Any:
    """``exp(x) - 1`` for ``x <= 0``; NaN counts as the lowest."""
    scale, p = _power(x)
    return scale * p + (scale - _ONE)


@fused
def _log1p(x: Any) -> Any:
    """``log(1 + x)`` for ``x >= 0`` (after FreeBSD's ``log1pf``)."""
    u = _ONE + x
    lost = (x - (u - _ONE)) / u
    bits = np.int32(np.float32(u).view(np.int32) + _OFFSET)
    power = np.float32(np.int32(bits >> _SHIFT) - _BIAS)
    f = np.int32(np.int32(bits & _MANTISSA) + _ROOT).view(np.float32) - _ONE
    s = f / (_TWO + f)
    z = s * s
    w = z * z
    square = _HALF * f * f
    tail = w * (_L2 + w * _L4) + z * (_L1 + w * _L3)
    log = s * (square + tail) + (power * _LN2_LOW + lost) - square + f + power * _LN2_HIGH
    return log if x < _HIGHEST else x


@fused
def _softplus(x: Any) -> Any:
    """``log(1 + exp(x))``."""
    scale, p = _power(-abs(x))
    found = (x if x > _ZERO else _ZERO) + _log1p(scale * p + scale)
    return found if x == x else x


@fused
def _tanh(x: Any) -> Any:
    """``tanh(x)``."""
    less = _expm1(-_TWO * abs(x))
    size = -less / (less + _TWO)
    return (size if x > _ZERO else -size) if x == x else x


@fused
def _bend(kind: int, x: Any, n: Any) -> None:
    """Apply a basis function in place to the first ``n`` of ``x``, all ``>= 0``."""
    if kind == _LOG1P:
        for i in range(n):
            x[i] = _log1p(x[i])
    elif kind == _TANH:
        for i in range(n):
            x[i] = _tanh(x[i])
    elif kind == _RATIO:
        for i in range(n):
            x[i] = x[i] / (_ONE + x[i])
    elif kind == _EXP:
        for i in range(n):
            x[i] = -_expm1(-x[i]) if x[i] == x[i] else x[i]
    elif kind == _SQRT:
        for i in range(n):
            x[i] = x[i] / np.sqrt(_ONE + x[i] * x[i])


@fused
def _dense(x: Any, weights: Any, out: Any) -> None:
    """``x @ weights``: by BLAS, but a single row here, which costs less than the call."""
    if x.shape[0] > 1:
        np.dot(x, weights, out)
        return
    inner, width = weights.shape
    for n in range(width):
        out[0, n] = _ZERO
    whole = inner - inner % 4
    for m in range(0, whole, 4):
        a, b, c, d = x[0, m], x[0, m + 1], x[0, m + 2], x[0, m + 3]
        for n in range(width):
            out[0, n] += a * weights[m, n] + b * weights[m + 1, n] + c * weights[m + 2, n] + d * weights[m + 3, n]
    for m in range(whole, inner):
        for n in range(width):
            out[0, n] += x[0, m] * weights[m, n]


@fused
def _rectify(x: Any, bias: Any) -> None:
    """Add the bias, then ReLU, in place."""
    for i in range(x.shape[0]):
        for n in range(x.shape[1]):
            value = x[i, n] + bias[n]
            x[i, n] = _ZERO if value < _ZERO else value


@fused
def _uplift(
    heads: Any, bias: Any, size: Any, codes: Any, parts: Any, kinds: Any, monotone: bool, level: Any, factor: Any,
    bent: Any, out: Any,
) -> None:  # fmt: skip
    """One request's distinct uplifts of one stage, from its prefixes' heads before the bias (used up)."""
    prefixes, scales, earlier, tuples, distinct, width = size[0], size[1], size[2], size[3], size[4], size[5]
    bases = kinds.shape[0]
    rise, boost = 2 * bases, (1 + scales) * bases
    for p in range(prefixes):
        for n in range(width):
            heads[p, n] += bias[n]
        for n in range(width if monotone else bases):
            heads[p, n] = _softplus(heads[p, n])
    for c in range(distinct):
        out[c] = _ZERO
    for b in range(bases):
        for p in range(prefixes):
            height = heads[p, bases + b]
            level[p * scales] = height
            for s in range(1, scales):
                step = heads[p, rise + b * (scales - 1) + s - 1]
                height += step if monotone else step + _UNBOUND
                level[p * scales + s] = height
            for q in range(tuples):
                factor[p * tuples + q] = _ONE if monotone else _UNIT
            for e in range(earlier):
                lift = heads[p, boost + b * earlier + e]
                lift = lift if monotone else lift - _BOOST
                for q in range(tuples):
                    factor[p * tuples + q] += lift * codes[e, q]
        if not monotone:
            for n in range(prefixes * scales):
                level[n] = _softplus(level[n])
            if earlier:
                for n in range(prefixes * tuples):
                    factor[n] = _softplus(factor[n])
            else:
                for n in range(prefixes * tuples):
                    factor[n] = _ONE
        for c in range(distinct):
            bent[c] = level[parts[1, c]] * factor[parts[2, c]]
        _bend(kinds[b], bent, distinct)
        for c in range(distinct):
            out[c] += heads[parts[0, c], b] * bent[c]


@fused
def _evaluate(
    features: Any, mean: Any, first: Any, first_bias: Any, second: Any, second_bias: Any, contexts: Any, states: Any,
    constants: Any, weights: Any, biases: Any, parents: Any, codes: Any, parts: Any, chains: Any, sizes: Any,
    kinds: Any, recursive: bool, monotone: bool, scale: Any, out: Any,
) -> None:  # fmt: skip
    """All rewards, ``[B, J]``.

    Arrays that begin with a stage's axis are padded to the largest stage; the heads' ``weights`` lie end to end.
    """
    stages, hidden = states.shape[0], states.shape[1]
    most = constants.shape[1]
    size = min(CHUNK, features.shape[0])
    x = np.empty((size, first.shape[0]), np.float32)
    trunk = np.empty((size, first.shape[1]), np.float32)
    inner = np.empty((size, hidden), np.float32)
    context = np.empty((size, contexts.shape[1]), np.float32)
    state = np.empty((size * most, hidden), np.float32)
    carried = np.zeros((size * most, hidden), np.float32)
    buffer = np.empty(size * most * biases.shape[1], np.float32)
    level = np.empty(most * sizes[:, 1].max(), np.float32)
    factor = np.empty(most * sizes[:, 3].max(), np.float32)
    bent = np.empty(parts.shape[2], np.float32)
    uplift = np.empty(parts.shape[2], np.float32)
    for start in range(0, features.shape[0], CHUNK):
        rows = min(CHUNK, features.shape[0] - start)
        for i in range(rows):
            for n in range(x.shape[1]):
                x[i, n] = features[start + i, n] - mean[n]
        _dense(x[:rows], first, trunk[:rows])
        _rectify(trunk[:rows], first_bias)
        _dense(trunk[:rows], second, inner[:rows])
        _rectify(inner[:rows], second_bias)
        _dense(inner[:rows], contexts, context[:rows])
        before, reached = 1, 0
        carried[:rows] = _ZERO
        for k in range(stages):
            now = sizes[k, 0]
            if recursive and k:
                _dense(state[: rows * before], states[k], carried[: rows * before])
            for i in range(rows):
                for p in range(now):
                    of = i * before + parents[k, p] if recursive else 0
                    for n in range(hidden):
                        state[i * now + p, n] = _tanh(carried[of, n] + constants[k, p, n] + context[i, k * hidden + n])
            before = now
            width = sizes[k, 5]
            heads = buffer[: rows * now * width].reshape((rows * now, width))
            _dense(state[: rows * now], weights[reached : reached + hidden * width].reshape((hidden, width)), heads)
            reached += hidden * width
            for i in range(rows):
                mine = heads[i * now : (i + 1) * now]
                _uplift(mine, biases[k], sizes[k], codes[k], parts[k], kinds, monotone, level, factor, bent, uplift)
                row = out[start + i]
                if k == 0:
                    row[:] = _ZERO
                for j in range(row.shape[0]):
                    row[j] += uplift[chains[k, j]]
        for i in range(start, start + rows):
            for j in range(out.shape[1]):
                out[i, j] *= scale
