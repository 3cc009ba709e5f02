"""Ali-CCP's text parsed in compiled code, byte by byte: no Python object for a line or a feature.

Loops over digits are written out on purpose: as a function of their own they made parsing half as slow again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from greenflow_ray.support.jit import kernel

NEWLINE = 10
MALFORMED, CUT_OFF = 1, 2
"""Why a feature list cannot be read."""

_RETURN, _COMMA, _MINUS, _DOT, _UNDERSCORE, _ZERO, _NINE = 13, 44, 45, 46, 95, 48, 57
_MOST_DIGITS = 18


@kernel
def split(text: Any, columns: int, edges: Any, numbers: Any) -> tuple[int, int]:
    """Fill ``edges`` and ``numbers``; returns lines filled, and the first line with too few columns or −1."""
    out, start, number = 0, 0, 0
    seen = 1
    for i in range(len(text)):
        c = text[i]
        if c == _COMMA and seen < columns:
            edges[out, seen] = i + 1
            seen += 1
        elif c == NEWLINE:
            end = i
            if end > start and text[end - 1] == _RETURN:
                end -= 1
            if end > start:
                if seen < columns:
                    return out, number
                edges[out, 0] = start
                edges[out, columns] = end + 1
                numbers[out] = number
                out += 1
            start = i + 1
            number += 1
            seen = 1
    return out, -1


@kernel
def mix(text: Any, starts: Any, ends: Any, out: Any) -> None:
    """FNV-1a, then splitmix64's finish."""
    for row in range(len(starts)):
        h = np.uint64(0xCBF29CE484222325)
        for i in range(starts[row], ends[row]):
            h = (h ^ np.uint64(text[i])) * np.uint64(0x100000001B3)
        h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        out[row] = h ^ (h >> np.uint64(31))


@kernel
def numbers(text: Any, starts: Any, ends: Any, out: Any) -> None:
    """Non-negative integers; −2 where there is none."""
    for row in range(len(starts)):
        value, good = np.int64(0), 0 < ends[row] - starts[row] <= _MOST_DIGITS
        for i in range(starts[row], ends[row]):
            good &= _ZERO <= text[i] <= _NINE
            value = value * 10 + np.int64(text[i]) - _ZERO
            if not good:
                break
        out[row] = value if good else -2


@kernel
def count(text: Any, starts: Any, ends: Any, mark: int, out: Any) -> None:
    """How many features every list has."""
    for row in range(len(starts)):
        n = 1 if ends[row] > starts[row] else 0
        for i in range(starts[row], ends[row]):
            n += text[i] == mark
        out[row] = n


@kernel
def parse(
    text: Any, starts: Any, ends: Any, marks: Any, expected: Any, counts: Any, fields: Any, ids: Any, values: Any
) -> tuple[int, int, int]:
    """Fill ``fields``, ``ids``, ``values``; returns row, reason and place of the first fault, or −1s."""
    between, after_field, after_id = marks
    k = 0
    for row in range(len(starts)):
        if expected[row] == -2 or expected[row] > counts[row]:
            return row, CUT_OFF, starts[row]
        i, end = starts[row], ends[row]
        while i < end:
            begin = i
            field, digits = np.int64(0), 0
            while i < end and _ZERO <= text[i] <= _NINE and digits < _MOST_DIGITS:
                field = field * 10 + np.int64(text[i]) - _ZERO
                digits += 1
                i += 1
            good = 0 < digits < 8
            suffix = np.int64(0)
            if i < end and text[i] == _UNDERSCORE:
                i += 1
                digits = 0
                while i < end and _ZERO <= text[i] <= _NINE and digits < _MOST_DIGITS:
                    suffix = suffix * 10 + np.int64(text[i]) - _ZERO
                    digits += 1
                    i += 1
                good &= 0 < digits < 3
            good &= i < end and text[i] == after_field
            i += 1
            identity, digits = np.int64(0), 0
            while i < end and _ZERO <= text[i] <= _NINE and digits < _MOST_DIGITS:
                identity = identity * 10 + np.int64(text[i]) - _ZERO
                digits += 1
                i += 1
            good &= digits > 0
            if after_id != 0:
                good &= i < end and text[i] == after_id
                i += 1
                sign = 1.0
                if i < end and text[i] == _MINUS:
                    sign = -1.0
                    i += 1
                number, scale, digits, dot = 0.0, 1.0, 0, False
                while i < end and (_ZERO <= text[i] <= _NINE or (text[i] == _DOT and not dot)):
                    if text[i] == _DOT:
                        dot = True
                    else:
                        number = number * 10.0 + (np.float64(text[i]) - 48.0)
                        scale = scale * 10.0 if dot else scale
                        digits += 1
                    i += 1
                good &= 0 < digits < 40
                exponent, negative = np.int64(0), False
                if i < end and (text[i] == 101 or text[i] == 69):  # e, E
                    i += 1
                    if i < end and (text[i] == _MINUS or text[i] == 43):
                        negative = text[i] == _MINUS
                        i += 1
                    digits = 0
                    while i < end and _ZERO <= text[i] <= _NINE and digits < 3:
                        exponent = exponent * 10 + np.int64(text[i]) - _ZERO
                        digits += 1
                        i += 1
                    good &= digits > 0
                number = sign * number / scale * 10.0 ** (-exponent if negative else exponent)
                good &= abs(number) < 3e38
                if good:
                    values[k] = number
            good &= i == end or (i < end and text[i] == between and i + 1 < end)
            if not good:
                return row, MALFORMED, begin
            fields[k] = field * 100 + suffix
            ids[k] = identity
            k += 1
            i += 1
    return -1, 0, 0
