"""The command line as a person meets it: help that teaches, errors on one line, earlier artifacts intact."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from greenflow_ray import cli
from greenflow_ray.serving.local.launch import free_port
from tests.evaluation import tiny as evaluations

Outcome = tuple[int, str, str]
Call = Callable[..., Outcome]

TINY = {
    "stages": [
        {"name": "recall", "pool": [{"name": "dssm"}], "scales": "corpus"},
        {"name": "pre-ranking", "pool": [{"name": "ydnn"}], "scales": [30, 60]},
        {"name": "ranking", "pool": [{"name": "din"}], "scales": [10, 20]},
    ],
    "exposure": 10,
    "history_length": 8,
    "data": {"format": "synthetic", "users": 160, "items": 120},
    "training": {"epochs": 1, "targets_per_user": 4},
    "reward": {"epochs": 2, "hidden": 8},
}
COMMANDS = ("prepare", "train", "evaluate", "serve", "reprice", "join", "value", "loadtest", "report", "demo")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run ``greenflow`` with arguments; gives exit code, standard output, standard error."""

    def run(*args: object) -> Outcome:
        monkeypatch.setattr("sys.argv", ["greenflow", *map(str, args)])
        monkeypatch.delenv("GREENFLOW_DEBUG", raising=False)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        seen = capsys.readouterr()
        return int(stop.value.code or 0), seen.out, seen.err

    return run


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


def one_line(error: str) -> str:
    """The error line; there must be exactly one, and no stack trace."""
    assert "Traceback" not in error
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, error
    return lines[0]


def fingerprints(folder: Path) -> dict[str, str]:
    # SQLite touches its side files even when it only reads.
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.parent.name != "prices")
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_help_names_every_command(call: Call) -> None:
    code, out, _ = call("--help")
    assert code == 0
    for command in (*COMMANDS, "simulate"):
        assert command in out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(call: Call, command: str) -> None:
    code, out, _ = call(command, "--help")
    assert code == 0
    for option in ("--run", "--seed", "--json", "--help"):
        assert option in out


def test_config_prints_what_it_reads_back(call: Call, tiny: Path, tmp_path: Path) -> None:
    code, out, _ = call("config", "--config", tiny, "--run", tmp_path / "run", "--seed", 7)
    assert code == 0
    assert yaml.safe_load(out)["seed"] == 7


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p / "absent", ["absent", "no such data folder"]),
        (lambda p: (p / "x.txt").write_text("hi") and p, ["movielens", "sequences"]),
    ],
    ids=["missing", "foreign"],
)
def test_bad_data_folder(call: Call, tmp_path: Path, make: Callable[[Path], Path], words: list[str]) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    code, _, err = call("prepare", "--run", tmp_path / "run", "--data", make(folder))
    line = one_line(err).lower()
    assert code == 2
    for word in words:
        assert word in line


def test_unknown_format_key_and_scale(call: Call, tiny: Path, tmp_path: Path) -> None:
    code, _, err = call("prepare", "--run", tmp_path / "run", "--format", "csv", "--config", tiny)
    assert (code, "data.format" in one_line(err)) == (2, True)
    tiny.write_text(yaml.safe_dump({**TINY, "exposur": 3}))
    code, _, err = call("prepare", "--run", tmp_path / "run", "--config", tiny)
    assert (code, "exposur" in one_line(err)) == (2, True)
    stages = [*TINY["stages"][:1], {**TINY["stages"][1], "scales": [30, 5000]}, TINY["stages"][2]]  # type: ignore[index]
    tiny.write_text(yaml.safe_dump({**TINY, "stages": stages}))
    code, _, err = call("prepare", "--run", tmp_path / "run", "--config", tiny)
    assert code == 2
    assert "5000 exceeds the corpus of 120 items" in one_line(err)


def test_prepare_takes_a_path_and_tells_what_it_read(call: Call, tiny: Path, tmp_path: Path) -> None:
    rows = [f"{user},{user * 7 % 61 + k},4.0,{1_000_000_000 + k}" for user in range(1, 41) for k in range(6)]
    (tmp_path / "ratings.csv").write_text("\n".join(["userId,movieId,rating,timestamp", *rows, rows[0]]) + "\n")
    options = ("--config", tiny, "--run", tmp_path / "run", "--format", "movielens", "--path", tmp_path)
    code, out, _ = call("prepare", *options, "--json")
    told = json.loads(out)
    assert (code, told["users"], told["events"], told["duplicates"]) == (0, 40, 240, 1)
    assert (told["first"], told["history_median"]) == ("2001-09-09T01:46:40+00:00", 3.0)
    code, _, err = call("prepare", *options)
    assert code == 0
    assert "240 events, 1 repeated ones left out" in err


def test_commands_out_of_order_say_what_to_run_first(call: Call, tmp_path: Path) -> None:
    for command in (["report"], ["loadtest"], ["serve", "--port", free_port()], ["value"]):
        code, _, err = call(*command, "--run", tmp_path / "nothing")
        assert code in (1, 2)
        assert "run `greenflow" in one_line(err)


def test_join_without_samples_says_what_is_missing(call: Call, tmp_path: Path) -> None:
    code, _, err = call("join", "--run", tmp_path / "nothing")
    assert code == 2
    assert "no sample files; serve traffic first" in one_line(err)
    code, _, err = call("join", "--run", tmp_path / "nothing", "--horizon", -1)
    assert (code, "horizon: -1 s" in one_line(err)) == (2, True)


def test_train_reuses_then_refuses_altered_weights(call: Call, tiny: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert call("prepare", "--run", run, "--config", tiny, "--json")[0] == 0
    code, out, _ = call("train", "--run", run, "--json")
    assert code == 0
    first = json.loads(out)
    assert [m["name"] for m in first["models"]] == ["dssm", "ydnn", "din"]
    assert not first["reused"]
    before = fingerprints(run)
    assert json.loads(call("train", "--run", run, "--json")[1])["reused"]
    assert fingerprints(run) == before
    # A configuration that cannot be read leaves all of it alone.
    (tmp_path / "broken.yaml").write_text("exposure: [")
    assert call("train", "--run", run, "--config", tmp_path / "broken.yaml")[0] == 2
    assert fingerprints(run) == before
    weights = run / "models" / "din.safetensors"
    altered = bytearray(weights.read_bytes())
    altered[-1] ^= 1
    weights.write_bytes(altered)
    code, _, err = call("serve", "--run", run, "--port", free_port())
    line = one_line(err)
    assert code == 2
    assert "SHA-256" in line
    assert "din.safetensors" in line


def test_port_in_use(call: Call, tiny: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    call("prepare", "--run", run, "--config", tiny, "--json")
    call("train", "--run", run, "--json")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = call("serve", "--run", run, "--port", port)
    assert code == 3
    assert f"port {port} is in use" in one_line(err)


# The offline experiments.


def smallest(tmp_path: Path) -> Path:
    """A cascade file with the smallest networks."""
    declared = evaluations.config(tmp_path / "unused").model_dump(mode="json")
    path = tmp_path / "smallest.yaml"
    kept = ("name", "exposure", "stages", "data", "training", "reward", "history_length")
    path.write_text(yaml.safe_dump({key: declared[key] for key in kept}))
    return path


def test_evaluate_explains_what_it_does(call: Call) -> None:
    code, out, _ = call("evaluate", "--help")
    assert code == 0
    text = " ".join(out.replace("│", " ").split())
    for option in (
        "--cascade",
        "--config",
        "--data",
        "--format",
        "--seeds",
        "--cuts",
        "--exposures",
        "--quick",
        "--workers",
    ):
        assert option in text
    assert "what each policy earns from final users at each budget" in text
    assert "interrupted and resumed" in text
    assert "runs/evaluation-DATA-CASCADE" in text
    assert "20,50" in text


def test_evaluate_refuses_an_unknown_cascade(call: Call, tmp_path: Path) -> None:
    code, _, err = call("evaluate", "--run", tmp_path / "run", "--cascade", "Z")
    line = one_line(err)
    assert code == 2
    assert "'Z'" in line
    for name in ("A", "C", "D", "full", "--config FILE"):
        assert name in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ("twenty", "'twenty' is not numbers by comma"),
        ("20;50", "'20;50'"),
        ("0", "(0,)"),
        ("20,500", "largest scale, 400"),
    ],
)
def test_evaluate_refuses_bad_exposures(call: Call, tmp_path: Path, given: str, word: str) -> None:
    code, _, err = call("evaluate", "--run", tmp_path / "run", "--exposures", given)
    line = one_line(err)
    assert code == 2
    assert "exposures" in line
    assert word in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("options", [("--seeds", 0), ("--cuts", 0), ("--workers", 0), ("--seeds", "x")])
def test_evaluate_refuses_numbers_that_are_none(call: Call, tmp_path: Path, options: tuple[str, object]) -> None:
    code, _, err = call("evaluate", "--run", tmp_path / "run", *options)
    assert code == 2
    assert options[0] in one_line(err)


def test_evaluate_refuses_a_corpus_smaller_than_a_scale(call: Call, tmp_path: Path) -> None:
    evaluations.write_movielens(tmp_path / "ml", times=False, items=70)
    options = ("--config", smallest(tmp_path), "--run", tmp_path / "run", "--exposures", "5")
    code, _, err = call("evaluate", *options, "--data", tmp_path / "ml")
    assert code == 2
    assert "stages.1.scales: 80 exceeds the corpus of" in one_line(err)
    code, _, err = call("evaluate", *options, "--data", tmp_path / "nowhere")
    assert code == 2
    assert "no such data folder" in one_line(err)


def test_evaluate_runs_and_prints_its_document(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = smallest(tmp_path)
    monkeypatch.chdir(tmp_path)
    options = ("--config", config, "--seeds", 1, "--exposures", "5", "--quick", "--workers", 1, "--seed", 4)
    with evaluations.small_machine():
        code, out, _ = call("evaluate", *options, "--json")
        assert code == 0
        told = json.loads(out)
        run = tmp_path / "runs" / "evaluation-synthetic-tiny"
        assert told == json.loads((run / "evaluation.json").read_text())
        assert told["command"].startswith("greenflow evaluate --config")
        assert (told["seeds"], told["synthetic"], told["cuts"]) == ([4], True, 1)
        assert (run / "evaluation.html").is_file()
        before = fingerprints(run / "seeds")
        code, out, err = call("evaluate", *options)
    assert (code, out) == (0, "")
    assert "5/5 Final users" in err
    assert "evaluation.html" in err
    assert fingerprints(run / "seeds") == before
