"""The README holds: quick commands run, the others name things that exist, snippets execute."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
import typer.main
from fastapi import FastAPI

from greenflow_ray import config as configuration
from greenflow_ray.cli import app
from greenflow_ray.serving.http.routes import Service, build_web
from tests.test_client import url as url

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("bash") for line in block.splitlines() if line.strip()]
    return [shlex.split(line, comments=True) for line in lines]


def web() -> FastAPI:
    service = Mock(spec=Service)
    return build_web(service, exposure=20, body_limit=1 << 20)


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_it_shows_the_two_commands_first() -> None:
    assert [c for c in commands() if c[0] == "make"][:2] == [["make", "demo"], ["make", "test"]]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_commands_exist(command: list[str]) -> None:
    if command[0] == "make":
        assert command[1] in targets()
    elif command[0] == "greenflow":
        group = typer.main.get_command(app)
        known = group.commands[command[1]]  # type: ignore[attr-defined]
        options = {opt for p in known.params for opt in p.opts}
        assert {word for word in command[2:] if word.startswith("--")} <= options
    elif command[:2] == ["serve", "run"]:
        assert (ROOT / command[2]).exists()
    elif command[:3] == ["ray", "job", "submit"]:
        assert (ROOT / command[5]).exists()
    elif command[0] == "export":
        assert "=" in command[1]
    else:
        assert command[0] == "curl"
        url = next(word for word in command if word.startswith("127.0.0.1"))
        method = command[command.index("-X") + 1] if "-X" in command else "GET"
        assert method.lower() in web().openapi()["paths"]["/" + url.split("/", 1)[1]]


def test_make_targets_named_in_the_text_exist() -> None:
    assert set(re.findall(r"`make ([a-z-]+)", TEXT)) <= targets()


def test_make_help_runs() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("demo", "test", "test-all", "lint", "bench", "clean"):
        assert f"make {target}" in shown


def test_python_snippets_run(url: str) -> None:
    snippets = blocks("python")
    assert snippets
    for snippet in snippets:  # the application that answers them is a stand-in
        snippet = snippet.replace("http://127.0.0.1:8000", url)
        subprocess.run([sys.executable, "-c", snippet], check=True, cwd=ROOT)


def test_yaml_snippets_are_valid_cascades() -> None:
    snippets = blocks("yaml")
    assert snippets
    for snippet in snippets:
        configuration.parse(snippet, "README.md")


def test_paths_named_in_the_text_exist() -> None:
    for path in re.findall(r"`((?:greenflow_ray|deployments|jobs|tests)/[\w/.]*)`", TEXT):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"\]\((\.[^)#]+)\)", TEXT) + re.findall(r'src="([^"]+)"', TEXT):
        assert (ROOT / path).exists(), path
