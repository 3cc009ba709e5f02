"""Without a terminal, progress does not scroll."""

from __future__ import annotations

import pytest

from greenflow_ray.support.terminal import Terminal


def test_without_a_terminal_progress_says_a_line_every_ten_seconds_at_most(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    terminal = Terminal(clock=lambda: now)
    for job in "one", "two":
        with terminal.progress() as progress:
            for second in range(25):
                progress(f"job {job}, step {second}", second / 25)
                now += 1.0
    lines = [" ".join(line.split()) for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        "0.0s 0% job one, step 0",
        "10.0s 40% job one, step 10",
        "20.0s 80% job one, step 20",
        "5.0s 20% job two, step 5",
        "15.0s 60% job two, step 15",
    ]
