"""The file in which the ledger survives its own death."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any


class StateFile:
    """A JSON document and the trajectory's points in SQLite: saved whole or not at all, whatever happens."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("CREATE TABLE IF NOT EXISTS ledger (id INTEGER PRIMARY KEY CHECK (id = 1), state TEXT)")
        self._db.execute("CREATE TABLE IF NOT EXISTS points (t REAL PRIMARY KEY, point TEXT)")

    def load(self) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
        """Document and points, oldest first; None if there is none. Raises ValueError if it is not JSON."""
        row = self._db.execute("SELECT state FROM ledger").fetchone()
        points = self._db.execute("SELECT point FROM points ORDER BY t").fetchall()
        return (json.loads(row[0]), [json.loads(text) for (text,) in points]) if row else None

    def save(self, state: dict[str, Any], points: list[dict[str, Any]]) -> None:
        """Replace the document, add or replace ``points``."""
        rows = [(point["t"], json.dumps(point)) for point in points]
        self._db.execute("BEGIN")
        try:
            self._db.execute("INSERT OR REPLACE INTO ledger (id, state) VALUES (1, ?)", (json.dumps(state),))
            self._db.executemany("INSERT OR REPLACE INTO points (t, point) VALUES (?, ?)", rows)
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def clear(self) -> None:
        """Forget an earlier session."""
        self._db.execute("DELETE FROM points")
        self._db.execute("DELETE FROM ledger")
