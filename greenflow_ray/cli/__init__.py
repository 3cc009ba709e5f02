"""The command line, `greenflow …`: a module for each family of commands; each parses, calls one function, prints."""

from __future__ import annotations

import os
import sys

import typer

from greenflow_ray.cli import data, loop, measure, serve
from greenflow_ray.cli.options import app
from greenflow_ray.errors import GreenFlowError
from greenflow_ray.support.terminal import Terminal

__all__ = ["app", "data", "loop", "main", "measure", "serve"]


def main() -> None:
    """Entry point: errors become one line and an exit code; stack traces only with ``--debug``."""
    terminal = Terminal()
    sys.path.append(os.getcwd())  # modules of one's own, which configurations name, lie where the command is run
    try:
        code = app(standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        terminal.error("interrupted; everything that was started has been stopped")
        code = 130
    except Exception as error:
        if os.environ.get("GREENFLOW_DEBUG"):
            raise
        if isinstance(error, GreenFlowError):
            terminal.error(str(error))
            code = error.exit_code
        elif hasattr(error, "format_message") and hasattr(error, "exit_code"):
            terminal.error(error.format_message())
            code = int(error.exit_code)
        else:
            terminal.error(f"unexpected {type(error).__name__}: {error}; run `greenflow --debug …` to see where")
            code = 1
    sys.exit(code if isinstance(code, int) else 0)
