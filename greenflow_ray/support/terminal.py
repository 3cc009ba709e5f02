"""What a person sees in the terminal: steps, progress, tables, and errors on one line."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from greenflow_ray.support.progress import Progress as Callback

LINE_EVERY_S = 10.0
"""Without a terminal, progress says a line this often at most, in seconds."""


class Terminal:
    """Prints to standard error, so that ``--json`` leaves standard output to machines.

    On a terminal, progress is a live bar; elsewhere (a log, CI) it is a line every ten seconds at most.
    """

    def __init__(self, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last_line = float("-inf")  # when progress last said a line, kept from one job to the next
        self.console = Console(stderr=True, quiet=quiet, highlight=False)

    def step(self, text: str) -> None:
        """Announce a step of a longer job."""
        self.console.print(f"[bold]{text}[/bold]")

    def say(self, text: str) -> None:
        """One plain line."""
        self.console.print(text, soft_wrap=True)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table; every column but the first two is aligned right."""
        table = Table(title=title, title_justify="left", title_style="bold", show_edge=False, pad_edge=False)
        for index, column in enumerate(columns):
            table.add_column(column, justify="left" if index < 2 else "right")
        for row in rows:
            table.add_row(*(str(cell) for cell in row))
        self.console.print(table)

    @contextmanager
    def progress(self) -> Iterator[Callback]:
        """A callback ``(message, share)`` for long work; where the share falls back, a new bar begins."""
        if self.console.is_terminal and not self.console.quiet:
            columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
            with Progress(*columns, console=self.console, transient=False) as bars:
                task: TaskID | None = None
                reached = 0.0

                def show(message: str, share: float) -> None:
                    nonlocal task, reached
                    if task is None or share < reached:
                        task = bars.add_task(message, total=1.0)
                    reached = share
                    bars.update(task, description=message, completed=share)

                yield show
            return
        started = self._clock()

        def log(message: str, share: float) -> None:
            now = self._clock()
            if now - self._last_line >= LINE_EVERY_S:
                self._last_line = now
                self.say(f"  {now - started:6.1f}s {share:4.0%} {message}")

        yield log

    def error(self, text: str) -> None:
        """An error, on one line, whatever it holds."""
        print("error: " + " ".join(text.split()), file=sys.stderr)
