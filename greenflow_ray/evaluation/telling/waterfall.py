"""The waterfall as a single PNG, for a README or a message."""

from __future__ import annotations

import textwrap
from pathlib import Path

from greenflow_ray.errors import DataError
from greenflow_ray.evaluation.findings.shape import Evaluation
from greenflow_ray.evaluation.telling import pictures, words
from greenflow_ray.support.files import whole
from greenflow_ray.viz import figures as style


def save_png(evaluation: Evaluation, path: Path | str, *, dpi: int = 160) -> None:
    """Write the headline's waterfall to ``path``, on white, atomically. Raises DataError if there is none."""
    found = words.first_waterfall(evaluation)
    if found is None:
        raise DataError(f"{path}: the evaluation has no waterfall to draw; run `greenflow evaluate` with policies")
    result, falls = found
    figure = pictures.waterfall(result, falls)
    data = f"{evaluation.dataset}, {words.REALITIES[evaluation.synthetic]}, cascade {evaluation.cascade}"
    title = textwrap.fill(f"{words.headline(evaluation)} ({data}, exposure {result.exposure})", 92)
    figure.suptitle(title, x=0.01, ha="left", color=style.INK, fontsize=12, weight="bold")
    figure.set_figheight(figure.get_figheight() + 0.25 * (1 + title.count("\n")))
    with whole(path) as part:
        figure.savefig(part, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
