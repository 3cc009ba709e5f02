"""Configuration: what is refused, in which words, and that it survives a round trip."""

from pathlib import Path

import pytest

from greenflow_ray import config as configuration
from greenflow_ray.errors import ConfigError


def test_builtin_survives_a_round_trip() -> None:
    config = configuration.load(configuration.DEFAULT)
    assert configuration.parse(configuration.dump(config), "again") == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("exposur: 20\n", r"exposur: Extra inputs.*remove it or check its spelling"),
        ("budget: {flops_per_second: -1}\n", r"budget\.flops_per_second"),
        ("budget: {flops_per_second: .nan}\n", r"budget\.flops_per_second"),
        ("budget: {cores: 2}\n", "budget.cores: chains cost what models declare; set `costs: timed`"),
        ("budget: {keep: 0}\n", r"budget\.keep"),
        ("budget: {mix: {cheapest: -1}}\n", r"budget\.mix\.cheapest"),
        ("exposure: 1000\n", "below exposure 1000"),
        ("costs: guessed\n", r"costs: Input should be 'declared', 'timed' or 'counted'"),
        ("data: {split: {train: 0.9, validation: 0.1, reward: 0.1}}\n", "so that final users remain"),
        ("exposure: [\n", "not valid YAML"),
    ],
)
def test_what_is_wrong_is_named_on_one_line(change: str, message: str) -> None:
    text = "\n".join(
        line for line in configuration.DEFAULT.read_text().splitlines() if line.split(":")[0] != change.split(":")[0]
    )
    with pytest.raises(ConfigError, match=message) as caught:
        configuration.parse(text + "\n" + change, "cascade.yaml")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("cascade.yaml: ")


def test_missing_file_and_wrong_top_level() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read"):
        configuration.load("nowhere.yaml")
    with pytest.raises(ConfigError, match="expected a mapping"):
        configuration.parse("- a\n- b\n", "list.yaml")


def test_scale_beyond_the_corpus_is_refused() -> None:
    config = configuration.load(configuration.DEFAULT)
    config.check_corpus(800)
    with pytest.raises(ConfigError, match="800 exceeds the corpus of 799"):
        config.check_corpus(799)


def test_digest_follows_the_named_sections_only() -> None:
    config = configuration.load(configuration.DEFAULT)
    other = config.model_copy(update={"seed": 1})
    assert config.digest("reward") == other.digest("reward")
    assert config.digest("reward", "seed") != other.digest("reward", "seed")


def test_absolute_paths_for_processes_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    relative = {"pool": [{"name": "a", "weights": "w/a.npy"}, {"name": "b"}], "scales": [20]}
    values = {
        "run": "runs/own",
        "stages": [{"name": "one", **relative}, {"name": "two", "pool": [{"name": "c"}], "scales": [20]}],
    }
    found = configuration.validated(values, "test").absolute()
    assert found.run == tmp_path / "runs" / "own"
    assert found.prepared is None
    assert [m.weights for m in found.stages[0].pool] == [tmp_path / "w" / "a.npy", None]
