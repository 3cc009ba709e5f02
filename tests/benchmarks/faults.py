"""Every fault of the serving tests, at length, on one application: `python -m tests.benchmarks.faults --out FILE`.

It asserts nothing: for each fault it counts requests, answers other than 2xx and degraded ones by reason, sets what was
charged beside what receipts say, and says how long it took until all was normal again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from tests.benchmarks import figures
from tests.serving.fault_site import serving
from tests.serving.faults import FAULTS, Load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/faults.json"))
    parser.add_argument("--requests", type=int, default=2_000, help="for each fault")
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    parser.add_argument("--only", choices=sorted(FAULTS), nargs="*", default=list(FAULTS))
    options = parser.parse_args()
    load = Load(options.rate, options.requests / options.rate)
    report = {"machine": figures.machine(), "rate_per_second": options.rate, "faults": {}}
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as site:
        for name in options.only:
            report["faults"][name] = told = FAULTS[name](site, load).told()
            shown = ("requests", "not_2xx", "degraded_by_reason", "flops_charged", "seconds_until_normal")
            print(name, json.dumps({key: told[key] for key in shown}), flush=True)
    figures.save(options.out, report)


if __name__ == "__main__":
    main()
