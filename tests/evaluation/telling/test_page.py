from __future__ import annotations

import re
import warnings
from html import unescape
from pathlib import Path

import pytest

from greenflow_ray.errors import DataError
from greenflow_ray.evaluation.findings.shape import Evaluation, Interval
from greenflow_ray.evaluation.telling import page, pictures, words
from greenflow_ray.support.terminal import Terminal
from tests.evaluation import examples
from tests.viz.pages import Checker, browsed, outside_scripts


def text_of(html: str) -> str:
    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids))
    return " ".join(" ".join(checker.text).replace("\u00a0", " ").split())


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return examples.evaluation()


@pytest.fixture(scope="module")
def html(evaluation: Evaluation) -> str:
    return page.render(evaluation)


def test_page_is_one_file_that_asks_nothing_of_the_network(html: str) -> None:
    assert not re.findall(r"<script[^>]+src|<link", html)
    page = outside_scripts(html)
    assert not re.findall(r"https?://", page)
    assert not re.findall(r"(?:src|href)=\"(?!#)", page)
    assert not re.findall(r"@import|url\((?!#)", page)


def test_every_link_of_the_page_leads_somewhere(html: str) -> None:
    for target in re.findall(r"<a href=\"#([^\"]+)\"", html):
        assert f'id="{target}"' in html


def test_headline_gives_the_interval_and_what_personalisation_adds(evaluation: Evaluation, html: str) -> None:
    last = evaluation.results[0].waterfalls[0].steps[-1]
    head = unescape(re.findall(r"<h1[^>]*>(.*?)</h1>", html)[0]).replace("\u00a0", " ")
    assert f"{100 * last.saved.value:.1f} % fewer FLOPs" in head
    assert f"{100 * last.saved.low:.1f} to {100 * last.saved.high:.1f} %" in head
    assert f"personalisation's own part: {100 * last.added.value:.1f} points" in head


def saving(evaluation: Evaluation, saved: Interval) -> Evaluation:
    """The document with another saving as the whole of its first waterfall."""
    result = evaluation.results[0]
    falls = result.waterfalls[0]
    steps = (*falls.steps[:-1], falls.steps[-1].model_copy(update={"saved": saved}))
    changed = result.model_copy(update={"waterfalls": (falls.model_copy(update={"steps": steps}),)})
    return evaluation.model_copy(update={"results": (changed,)})


def test_headline_does_not_flatter(evaluation: Evaluation) -> None:
    unsure = saving(evaluation, Interval(value=0.02, low=-0.01, high=0.05))
    assert words.headline(unsure).startswith("No sure saving at equal clicks: 2.0 % of FLOPs")
    worse = saving(evaluation, Interval(value=-0.08, low=-0.11, high=-0.05))
    assert words.headline(worse).startswith("8.0 % MORE FLOPs at equal clicks (95 % interval −11.0 to −5.0 %)")
    assert "8.0 % MORE" in page.render(worse).replace("\u00a0", " ")


def test_a_missed_claim_is_printed_as_plainly_as_a_met_one(evaluation: Evaluation, html: str) -> None:
    rows = re.findall(r"<tr>((?:(?!</tr>).)*?<span class=\"tag (?:met|missed)\">(?:met|missed)</span></td>)</tr>", html)
    assert len(rows) == len(evaluation.checks)
    for check, row in zip(evaluation.checks, rows, strict=True):
        shown = unescape(row).replace("\u00a0", " ")
        assert check.claim in shown
        assert check.value in shown
        assert f">{'met' if check.met else 'missed'}<" in shown
    text = text_of(html)
    assert "Claims met 1 of 2" in text
    assert "1 of 2 met." in text


def test_the_oracle_is_marked_as_luck_wherever_it_stands(html: str) -> None:
    shown = re.findall(r"[^<>\"]*hindsight oracle[^<>\"]*", html)
    assert len(shown) >= 4
    assert all("luck" in each for each in shown)


def test_only_synthetic_data_is_called_synthetic(html: str) -> None:
    assert "synthetic" not in text_of(html).lower()
    synthetic = text_of(page.render(examples.evaluation(synthetic=True, exposures=(20,))))
    assert "GreenFlow evaluation · synthetic data" in synthetic
    assert "How much there is to gain" in synthetic


def test_first_exposure_comes_first_and_in_full(html: str) -> None:
    assert html.index('id="e20"') < html.index('id="e50"')
    between = html[html.index('id="e20"') : html.index('id="e50"')]
    for title in ("Where the saving comes from", "What a budget buys", "Reward models", "Keeping a budget"):
        assert f"<h2>{title}</h2>" in between
    assert "Tables and further pictures at exposure 50" in html
    assert "Tables and further pictures at exposure 20" not in html


def test_every_picture_is_drawn_in_a_browser(html: str, tmp_path: Path) -> None:
    seen = browsed(html, tmp_path)
    kinds = ("waterfall-0", "revenue", "reward", "ablation", "scale", "tracking")
    assert set(seen) == {f"e{exposure}-{kind}" for exposure in (20, 50) for kind in kinds}
    assert all(panels and all(marks > 0 for marks in panels) for panels in seen.values())


def test_a_synthetic_sets_ceiling_is_drawn_in_a_browser(tmp_path: Path) -> None:
    assert browsed(page.render(examples.evaluation(synthetic=True, exposures=(20,))), tmp_path)["e20-ceiling"][0] > 0


@pytest.mark.parametrize("synthetic", [False, True])
def test_page_without_any_optional_part(synthetic: bool) -> None:
    html = page.render(examples.bare(synthetic=synthetic))
    text = text_of(html)
    assert "times GLOBAL's clicks at 30 % of the fullest chain's FLOPs" in text
    for title in ("Where the saving comes from", "Keeping a budget", "What the network's parts are worth", "Claims"):
        assert f"<h2>{title}</h2>" not in html
    assert "None" not in text
    assert "nan" not in text.split()


def test_page_of_an_evaluation_that_has_nothing_to_show() -> None:
    bare = examples.bare()
    empty = bare.model_copy(update={"results": (bare.results[0].model_copy(update={"policies": ()}),)})
    assert "MovieLens-1M, cascade C" in text_of(page.render(empty))
    assert "MovieLens-1M, cascade C" in text_of(page.render(bare.model_copy(update={"results": ()})))


def test_foreign_text_is_escaped(evaluation: Evaluation) -> None:
    odd = examples.bare().model_copy(
        update={"dataset": "<b>x</b>", "notes": ("<script>alert(1)</script>",), "command": "<i>y</i>"}
    )
    html = page.render(odd)
    assert not re.findall(r"<script>alert|<b>x|<i>y", html)


def test_steps_that_cost_more_are_drawn(evaluation: Evaluation) -> None:
    result = evaluation.results[0]
    falls = result.waterfalls[0]
    worse = falls.steps[0].model_copy(
        update={
            "saved": Interval(value=-0.2, low=-0.3, high=-0.1),
            "added": Interval(value=-0.2, low=-0.3, high=-0.1),
        }
    )
    drawn = pictures.waterfall("w", result, falls.model_copy(update={"steps": (worse,)}))
    (spec,) = drawn.specs()
    (rows,) = spec["datasets"].values()
    assert max(row["edge"] for row in rows) >= 1.3
    assert any("+20.0 % (+10.0 to +30.0 %)" in row["text"] for row in rows)


def test_budget_used_is_not_rounded_over_the_line() -> None:
    assert words.used(0.999999) == "99.999 %"
    assert words.used(1.000001) == "100.001 %"
    assert words.used(1.0) == "100.000 %"
    assert words.used(0.99641) == "99.641 %"


def test_chain_names_leave_out_what_all_chains_share(evaluation: Evaluation) -> None:
    result = evaluation.results[0]
    assert words.chain_name("dssm:3706>ydnn:1000>dien:120", result) == "ydnn 1000 › dien 120"
    assert words.chain_name("other", result) == "other"


def test_picture_is_a_png_and_needs_a_waterfall(evaluation: Evaluation, tmp_path: Path) -> None:
    path = tmp_path / "waterfall.png"
    page.save_png(evaluation, path)
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    with pytest.raises(DataError, match="no waterfall"):
        page.save_png(examples.bare(), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


@pytest.mark.parametrize("make", [examples.evaluation, examples.bare])
def test_terminal_ends_with_the_headline(make: object) -> None:
    evaluation = make() if callable(make) else None
    assert isinstance(evaluation, Evaluation)
    shown = Terminal()
    shown.console.width = 120
    with shown.console.capture() as captured:
        page.print_evaluation(evaluation, shown)
    lines = captured.get().strip().splitlines()
    assert lines[-1] == words.headline(evaluation)
    assert "hindsight oracle (luck)" in captured.get()
    assert captured.get().count("MISSED") == sum(not check.met for check in evaluation.checks)


def test_small_and_doubled_parts_are_drawn(evaluation: Evaluation) -> None:
    """One budget, one point a question, two reference chains, a day without traffic: all drawn without a warning."""
    result = evaluation.results[0]
    day = result.tracking
    assert day is not None
    small = result.model_copy(
        update={
            "policies": tuple(p for p in result.policies if p.budget_share == 0.3),
            "scales": tuple(s.model_copy(update={"points": s.points[:1]}) for s in result.scales[:1]),
            "waterfalls": (*result.waterfalls, result.waterfalls[0].model_copy(update={"why": "another", "steps": ()})),
            "tracking": day.model_copy(update={"demand": (), "budget": (), "spend": {"GreenFlow": ()}}),
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        html = page.render(evaluation.model_copy(update={"results": (small,)}))
    text = text_of(html)
    assert "Against ydnn 1000 › dien 120: another" in text
