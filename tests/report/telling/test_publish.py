from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from greenflow_ray.errors import DataError
from greenflow_ray.loadtest import mix
from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.report.build import build_report
from greenflow_ray.report.contents import Moment, Report
from greenflow_ray.report.telling import publish, sentences
from greenflow_ray.viz import style
from tests.viz.pages import Checker, browsed, outside_scripts

Arms = tuple[ArmResult, ArmResult]


@pytest.fixture(scope="module")
def html(report: Report, arms: Arms) -> str:
    return publish.render(report, *arms)


def test_page_is_one_file_that_asks_nothing_of_the_network(html: str) -> None:
    assert not re.findall(r"<script[^>]+src|<link", html)
    page = outside_scripts(html)
    assert not re.findall(r"https?://", page)
    assert not re.findall(r"(?:src|href)=\"(?!#)", page)
    assert not re.findall(r"@import|url\((?!#)", page)


def test_page_nests_and_its_ids_are_unique(html: str) -> None:
    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids))


def test_page_shows_the_reports_figures(html: str, report: Report) -> None:
    checker = Checker()
    checker.feed(html)
    text = " ".join(checker.text).replace("\u00a0", " ")
    assert report.saving.flops is not None
    assert f"{100 * report.saving.flops:.1f} % less computation" in text
    assert "estimated" in text
    for arm in (report.arms.equal, report.arms.greenflow):
        assert f"{arm.clicks:,}" in text
    for note in report.notes:
        assert note in text
    assert "369.473 gCO2e/kWh" in text


def test_pictures_name_their_axes_and_are_drawn_in_a_browser(html: str, tmp_path: Path) -> None:
    for label in ("Spend, GFLOP/s", "seconds from the start", "Price, clicks per GFLOP", "latency, milliseconds"):
        assert label in html
    seen = browsed(html, tmp_path)
    assert set(seen) == {"spend", "outcomes", "chains", "latency", "energy"}
    assert all(panels and all(marks > 0 for marks in panels) for panels in seen.values())


@pytest.fixture(scope="module")
def moving(steered: Report, steered_arms: Arms) -> str:
    return publish.render(steered, *steered_arms)


def test_page_of_a_run_in_which_everything_moved(moving: str, tmp_path: Path) -> None:
    checker = Checker()
    checker.feed(moving)
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids))
    assert {"spend", "frontier", "chains", "replicas", "latency", "carbon", "energy"} <= set(checker.ids)
    text = " ".join(checker.text)
    for part in ("Limit that binds", "240 → 520 gCO2e/kWh", "predicted frontier", "GreenFlow today", "ranking-dien"):
        assert part in moving
    assert "The curve is a prediction" in text
    assert "Replicas that did not change: gateway 1." in text
    assert "At 18 s the budget went from 4.67 GFLOP/s to 3.50 GFLOP/s" in text
    seen = browsed(moving, tmp_path)
    panels = {name: len(each) for name, each in seen.items()}
    assert panels == {
        "spend": 4, "frontier": 1, "chains": 2, "replicas": 2, "latency": 1, "carbon": 3, "energy": 1
    }  # fmt: skip
    assert all(marks > 0 for each in seen.values() for marks in each)


def test_replicas_that_did_not_change_are_one_sentence(steered: Report, steered_arms: Arms) -> None:
    still = [m.model_copy(update={"replicas": {"gateway": 1, "ranking-din": 2}}) for m in steered.course]
    html = publish.render(steered.model_copy(update={"course": tuple(still)}), *steered_arms)
    assert "Replicas did not change: gateway 1, ranking-din 2." in html
    assert 'id="replicas"' not in html


def test_a_limit_that_never_changed_needs_no_band(steered: Report, steered_arms: Arms) -> None:
    course = [m.model_copy(update={"bound_by": "watts", "grams_per_kwh": None, "watts": None}) for m in steered.course]
    html = publish.render(steered.model_copy(update={"course": tuple(course)}), *steered_arms)
    assert "Limit that binds" not in html
    assert "The limit that bound: watts 100" in html
    assert 'id="carbon"' not in html  # an intensity that did not change has no picture


def test_foreign_text_is_escaped(report: Report, arms: Arms) -> None:
    odd = report.model_copy(update={"dataset": "<b>x</b>", "notes": ("<script>alert(1)</script>",)})
    html = publish.render(odd, *arms)
    assert "<script>alert" not in html
    assert "<b>x" not in html


def test_page_of_a_run_in_which_nothing_worked(arms: Arms) -> None:
    dead = []
    for arm in arms:
        rows = arm.requests
        requests = dataclasses.replace(
            rows,
            status=np.full(len(rows), 503, np.int16),
            chain=np.full(len(rows), -1, np.int32),
            flops=np.zeros(len(rows), np.int64),
            price=np.full(len(rows), np.nan),
        )
        dead.append(dataclasses.replace(arm, requests=requests, energy=None, cpu_seconds={}))
    report = build_report(dead[0], dead[1], dataset="d", synthetic=False, seed=0)
    html = publish.render(report, dead[0], dead[1])
    assert "none was reported" in html
    assert "Nothing to compare" in sentences.last_line(report, "x.html")


def test_page_is_made_again_from_what_a_run_left(report: Report, arms: Arms, html: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"report\.json"):
        publish.rebuild(tmp_path)
    report.save(tmp_path / "report.json")
    with pytest.raises(DataError, match="equal"):
        publish.rebuild(tmp_path)
    for arm in arms:
        arm.save(tmp_path / "loadtest")
    path = publish.rebuild(tmp_path)
    assert path == tmp_path / "report.html"
    assert path.read_text(encoding="utf-8") == html


def test_others_are_grouped_and_every_served_chain_has_a_group(arms: Arms) -> None:
    groups, labels = mix.chain_groups(arms)
    served = np.unique(arms[1].requests.chain)
    assert (groups[served] >= 0).all()
    assert groups[-1] == -1
    assert sum("others" in label for label in labels) == 1
    assert len(labels) == mix.SHOWN_CHAINS
    # Labels are in the order of cost, and leave out the stage in which chains do not differ.
    assert not any("dssm" in label for label in labels)
    cost = np.array(arms[1].chain_flops)
    means = [cost[np.flatnonzero(groups[:-1] == g)].mean() for g in range(len(labels))]
    assert means[0] < means[-1]


def test_terminal_says_what_was_saved_and_where_the_report_lies(report: Report) -> None:
    console = Console(width=120)
    with console.capture() as captured:
        publish.print_report(report, console, "runs/demo/report.html")
    lines = captured.get().strip().splitlines()
    assert report.saving.flops is not None
    assert lines[-1].startswith(f"{100 * report.saving.flops:.1f} % of the FLOPs saved; −")
    assert lines[-1].endswith("Report: runs/demo/report.html")
    assert any("Energy (estimated)" in line for line in lines)


def test_terminal_says_what_moved(steered: Report) -> None:
    console = Console(width=160)
    with console.capture() as captured:
        publish.print_report(steered, console, "report.html")
    text = captured.get()
    for part in (
        "The budget changed",
        "first second took",
        "repricing job 4.5 CPU-seconds",
        "SCI",
        "The limit that bound",
    ):
        assert part in text


def test_terminal_does_not_hide_that_more_was_spent(report: Report) -> None:
    worse = report.model_copy(update={"saving": report.saving.model_copy(update={"flops": -0.1})})
    assert sentences.last_line(worse, "x").startswith("10.0 % of the FLOPs MORE spent")


def test_picture_is_a_png(report: Report, arms: Arms, tmp_path: Path) -> None:
    path = tmp_path / "main.png"
    once = report.model_copy(update={"course": (Moment(t=0.0, version=1, price=1e-9),)})
    publish.save_png(once, *arms, path)
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 FLOPs"), (754e9, "754 GFLOPs"), (1.234e6, "1.23 MFLOPs"), (12_345, "12.3 kFLOPs")]
)
def test_si_prefixes(value: float, text: str) -> None:
    assert style.si(value, "FLOPs") == text


@pytest.mark.parametrize(("value", "text"), [(0.0091, "−0.9 %"), (-0.4, "+40.0 %"), (0.0001, "0.0 %"), (None, "–")])
def test_a_saving_as_a_change(value: float | None, text: str) -> None:
    assert style.change(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.0014, "1.4 ms"), (0.281, "281 ms"), (2.5, "2.50 s"), (None, "–")])
def test_seconds(value: float | None, text: str) -> None:
    assert style.seconds(value) == text
