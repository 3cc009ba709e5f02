"""What a person is told of a prepared set: how much there is, what was left out, and what to beware of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from greenflow_ray.datasets.assembly import Interactions
from greenflow_ray.datasets.schema import Clicks, Dataset, Split

FILE = "summary.json"
"""Beside the tables, read by nothing that trains or serves: its counts cover the final users' clicks too."""


@dataclass(frozen=True)
class Summary:
    """Figures of a prepared set."""

    users: int
    items: int
    events: int  # distinct (user, item) pairs, history and held-out clicks together
    duplicates: int = 0  # further events of a pair, of which the first counts
    dropped: Mapping[str, int] = field(default_factory=dict)  # rows of the source that are no events, by reason
    without_history: int = 0  # users with a single event, who are served as new ones
    without_clicks: int = 0  # users of whom nothing is held out
    history_median: float = 0.0  # median length of a history
    ordered: bool = False  # a user's history is older than the held-out clicks; if not, chance parts them
    first: str | None = None  # time of the oldest event, ISO 8601 in UTC; None where only the order is known, if that
    last: str | None = None  # time of the newest
    remarks: tuple[str, ...] = ()  # what else to know about how the source was read

    def lines(self) -> list[str]:
        """For the terminal."""
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in self.dropped.items())
        out = [f"{self.events:,} events" + (f", {self.duplicates:,} repeated ones left out" if self.duplicates else "")]
        out += [f"no events: {dropped}"] if dropped else []
        out += [f"history: median {self.history_median:g} events; {self.without_history:,} users have none"]
        out += [f"{self.without_clicks:,} users have no held-out click"] if self.without_clicks else []
        if self.first:
            out += [f"time: {self.first} to {self.last}"]
        elif not self.ordered:
            out += ["no order in time: chance parts history and held-out clicks"]
        return out + [f"note: {remark}" for remark in self.remarks]


def summarise(source: Interactions | None, dataset: Dataset, clicks: Mapping[Split, Clicks]) -> Summary:
    """Count; ``source`` is what the set was assembled from, None for the synthetic one."""
    lengths = dataset.users.history.lengths
    found = Summary(
        users=len(dataset.users),
        items=len(dataset.catalog),
        events=len(dataset.users.history.values) + sum(len(c.items.values) for c in clicks.values()),
        without_history=int(np.count_nonzero(lengths == 0)),
        without_clicks=sum(int(np.count_nonzero(c.items.lengths == 0)) for c in clicks.values()),
        history_median=float(np.median(lengths)),
        ordered=dataset.ordered,
    )
    if source is None:
        return found
    found = replace(found, duplicates=len(source.users) - found.events, dropped=source.dropped, remarks=source.remarks)
    if source.times is None or source.clock is None or not len(source.times):
        return found
    first, last = (_moment(int(time), source.clock) for time in (source.times.min(), source.times.max()))
    return replace(found, first=first, last=last)


def save(folder: Path, summary: Summary) -> None:
    """Write beside the prepared tables."""
    text = json.dumps(asdict(summary), indent=1, ensure_ascii=False)
    (folder / FILE).write_text(text + "\n", encoding="utf-8")


def load(folder: Path) -> Summary | None:
    """The summary of a prepared set, None if it has none that we can read."""
    try:
        held = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return Summary(**{**held, "remarks": tuple(held["remarks"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _moment(time: int, clock: float) -> str:
    """``time`` in units of ``clock`` seconds since 1970; the number itself where that is no date."""
    try:
        return datetime.fromtimestamp(time * clock, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return str(time)
