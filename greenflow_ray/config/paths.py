"""Layout of a run's folder."""

from __future__ import annotations

from pathlib import Path


class RunPaths:
    """Layout of a run's folder; every other module asks here instead of joining names."""

    def __init__(self, root: Path, prepared: Path | None = None) -> None:
        self.root = Path(root)
        self.config = self.root / "cascade.yaml"
        self.data = prepared or self.root / "data"
        self.models = self.root / "models"
        self.costs = self.root / "costs.json"
        self.reward = self.root / "reward"
        self.prices = self.root / "prices" / "prices.sqlite"
        self.ledger = self.root / "prices" / "ledger.sqlite"
        self.audit = self.root / "prices" / "budget-audit.jsonl"
        self.samples = self.root / "samples"
        self.feedback = self.root / "feedback"
        self.joined = self.root / "joined"
        self.value = self.root / "value.json"
        self.loadtest = self.root / "loadtest"
        self.report_json = self.root / "report.json"
        self.report_html = self.root / "report.html"
        self.report_png = self.root / "report.png"
