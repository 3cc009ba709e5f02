"""The folder of joined samples: files named by a manifest that is replaced whole, so that readers see one join."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from greenflow_ray.errors import DataError
from greenflow_ray.nearline.learning.match import joined_schema
from greenflow_ray.nearline.reading.vetting import FAULTS, plain_footer
from greenflow_ray.nearline.repricing.aggregate import reward_matrix
from greenflow_ray.support.files import whole

MANIFEST = "manifest.json"


class Summary(BaseModel):
    """What a join read, wrote and left out.

    Attributes:
        samples: joined samples, one a request; ``clicked`` of them have a click.
        open: samples whose horizon had not passed at the join: clicks may still come.
        clicks: distinct clicks joined.
        duplicate_samples, duplicate_clicks: seen more than once; counted once.
        late_clicks: came after the horizon; left out.
        orphan_clicks: of requests without a sample (not sampled, or its file is gone); left out.
        sample_files, feedback_files: files read; ``bad_files`` were set aside, ``other_files`` are samples of another
            chain space.
        horizon_s: seconds after its sample in which a click counts.
        joined_at: Unix seconds.
        seconds: wall time.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    samples: int
    clicked: int
    open: int
    clicks: int
    duplicate_samples: int
    duplicate_clicks: int
    late_clicks: int
    orphan_clicks: int
    sample_files: int
    feedback_files: int
    bad_files: int
    other_files: int
    horizon_s: float
    joined_at: float
    seconds: float

    def line(self) -> str:
        """All of it on one line."""
        return (
            f"{self.samples:,} samples, {self.clicked:,} of them clicked, {self.clicks:,} clicks; left out: "
            f"{self.duplicate_samples:,} samples and {self.duplicate_clicks:,} clicks seen twice, {self.late_clicks:,} "
            f"late clicks, {self.orphan_clicks:,} without a sample; {self.open:,} samples are younger than "
            f"{self.horizon_s:g} s; {self.bad_files} bad files; {self.seconds:.1f} s"
        )


class Manifest(BaseModel):
    """The files of the last join, and what their reward rows mean: digest, FLOPs and names of the chains."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = 1
    chains: str
    costs: tuple[float, ...]
    names: tuple[str, ...]
    files: tuple[str, ...]
    summary: Summary

    def arrow(self) -> pa.Schema:
        """Columns and metadata of the files."""
        return joined_schema(self.chains, self.costs, self.names)


@dataclass(frozen=True, eq=False)
class Joined:
    """Joined samples in memory; one row a request, ``n`` of them, ``J`` chains.

    Attributes:
        rewards: float32 ``[n, J]``, what each chain was expected to be worth in clicks.
        costs: FLOPs of each chain, float64 ``[J]``.
        names: of the chains.
        chain: int32 ``[n]``, the chain served.
        propensity: float64 ``[n]``, probability with which it was chosen.
        clicks: float64 ``[n]``.
        rate: float64 ``[n]``, the share of requests that were sampled.
        context: int64 ``[n]``, whose request it was.
        complete: bool ``[n]``, whether its horizon had passed when clicks were joined.
    """

    rewards: npt.NDArray[np.float32]
    costs: npt.NDArray[np.float64]
    names: tuple[str, ...]
    chain: npt.NDArray[np.int32]
    propensity: npt.NDArray[np.float64]
    clicks: npt.NDArray[np.float64]
    rate: npt.NDArray[np.float64]
    context: npt.NDArray[np.int64]
    complete: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.chain)

    def where(self, keep: npt.NDArray[np.bool_]) -> Joined:
        """The rows where ``keep``, bool ``[n]``, is true."""
        columns = ("rewards", "chain", "propensity", "clicks", "rate", "context", "complete")
        return replace(self, **{name: getattr(self, name)[keep] for name in columns})


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the last join. Raises DataError if there is none or it is damaged."""
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{path}: no joined samples; run `greenflow join` first") from error
    except (OSError, ValidationError) as error:
        raise DataError(f"{path}: cannot be read ({type(error).__name__}); run `greenflow join` again") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Put a join in the place of the one before, whose files are deleted."""
    try:
        before = read_manifest(folder).files
    except DataError:
        before = ()
    with whole(folder / MANIFEST) as part:
        part.write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
    for name in set(before) - set(manifest.files):
        (folder / name).unlink(missing_ok=True)


def read_joined(folder: Path) -> Joined:
    """The last join. Raises DataError if there is none, or a file is missing or damaged."""
    manifest = read_manifest(folder)
    tables = []
    for name in manifest.files:
        try:
            plain_footer(folder / name, manifest.arrow())
            tables.append(pq.read_table(folder / name, page_checksum_verification=True, partitioning=None))
        except FAULTS as error:
            raise DataError(f"{folder / name}: cannot be read ({error}); run `greenflow join` again") from error
    table = pa.concat_tables(tables).combine_chunks() if tables else manifest.arrow().empty_table()
    return Joined(
        rewards=reward_matrix(table["reward"]),
        costs=np.asarray(manifest.costs, dtype=np.float64),
        names=manifest.names or tuple(f"chain {j}" for j in range(len(manifest.costs))),
        chain=table["chain"].to_numpy(),
        propensity=table["propensity"].to_numpy().astype(np.float64),
        clicks=table["clicks"].to_numpy().astype(np.float64),
        rate=table["sampling_rate"].to_numpy().astype(np.float64),
        context=table["context_key"].to_numpy(),
        complete=table["complete"].to_numpy(),
    )
