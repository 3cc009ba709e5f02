"""What model instances cost: as they declare, or as `greenflow calibrate` timed or counted them on this machine.

FLOPs in closed form follow the convention of ``torch.utils.flop_counter``, against which the formula of every network's
settings is tested: multiply-adds of matrix products count two each, look-ups and element-wise work none. Work done once
a request (the user's side) is told apart from work done for each item; what is computed once, when a model is loaded
(the item tables), costs nothing at serving. Histories are padded to a fixed length, and cost that length.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from itertools import pairwise

from pydantic import Field, ValidationError

from greenflow_ray.config import CascadeConfig, Section
from greenflow_ray.errors import ArtifactError, ConfigError
from greenflow_ray.models.scorer import BareCorpusScorer, BareScorer, Scorer
from greenflow_ray.support.files import whole

SCHEMA = 1


@dataclass(frozen=True)
class Flops:
    """Cost of a model: FLOPs for each scored item, and FLOPs once a request."""

    per_item: int
    per_request: int


def layers(*widths: int) -> int:
    """One row through fully connected layers of the given widths."""
    return sum(2 * a * b for a, b in pairwise(widths))


class Fit(Section):
    """CPU-seconds of ``score`` as a sum: once a call, once a request of the batch, and once for each scored item."""

    per_call: float = Field(ge=0)
    per_request: float = Field(ge=0)
    per_item: float = Field(ge=0)
    error: float = Field(ge=0)  # root mean square of the relative errors at the points that were timed

    def seconds(self, items: int, sharing: int) -> float:
        """CPU-seconds of a request for ``items`` candidates where ``sharing`` requests share a call."""
        return self.per_call / sharing + self.per_request + self.per_item * items

    def flops(self, sharing: int, scale: float = 1.0) -> Flops:
        """The fit as integers, times ``scale``; ``sharing`` requests divide a call's own part."""
        return Flops(round(self.per_item * scale), round((self.per_request + self.per_call / sharing) * scale))


class ModelCosts(Section):
    """What calibration found of one model instance."""

    stage: str  # which model it is
    name: str
    key: str  # digest of what was measured: weights, code, arguments, item scales and corpus
    sizes: tuple[int, ...]  # numbers of items at which it was measured, for each request
    sharing: int  # requests that are taken to share a call, hence its fixed part
    declared: Flops | None  # what the scorer says of itself; None: it does not say
    counted: Flops | None  # FLOPs that torch's counter saw; None: none
    timed: Flops  # FLOP-equivalents: CPU-seconds × the reference's FLOP/s
    fit: Fit  # the CPU-seconds themselves

    @property
    def said(self) -> Flops | None:
        """FLOPs as declared, or else as counted."""
        return self.declared or self.counted

    @property
    def speed(self) -> float | None:
        """FLOP/s that the model reaches at its widest; None where its FLOPs are not known."""
        if self.said is None:
            return None
        flops = self.said.per_request + self.said.per_item * self.sizes[-1]
        return flops / self.fit.seconds(self.sizes[-1], self.sharing)


class Costs(Section):
    """The content of a run's ``costs.json``."""

    schema_version: int = SCHEMA
    machine: dict[str, str]
    reference_flops_per_second: float = Field(gt=0)
    models: tuple[ModelCosts, ...]

    def rekeyed(self, keys: dict[str, str]) -> Costs:
        """The same figures for models of the same build and other weights; ``keys`` by model name."""
        models = tuple(m.model_copy(update={"key": keys[m.name]}) for m in self.models)
        return self.model_copy(update={"models": models})


def write(config: CascadeConfig, costs: Costs) -> None:
    """Write the run's ``costs.json``; it appears whole or not at all."""
    with whole(config.paths.costs) as part:
        part.write_text(costs.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read(config: CascadeConfig) -> Costs:
    """The run's ``costs.json``. Raises ArtifactError if it is missing, damaged or of another version."""
    path = config.paths.costs
    try:
        costs = Costs.model_validate_json(path.read_bytes())
    except OSError as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise ArtifactError(f"{path}: {reason}, and costs are {config.costs!r}; {cure(config)}") from error
    except ValidationError as error:
        raise ArtifactError(f"{path}: not a file of costs ({error.errors()[0]['msg']}); {cure(config)}") from error
    if costs.schema_version != SCHEMA:
        raise ArtifactError(f"{path}: schema {costs.schema_version}, this version reads {SCHEMA}; {cure(config)}")
    return costs


def core_speed(config: CascadeConfig) -> float | None:
    """FLOP-equivalents of a CPU-second: what a chain's cost ÷ this is in CPU-seconds. None: costs are not timed."""
    return read(config).reference_flops_per_second if config.costs == "timed" else None


def in_force(config: CascadeConfig, found: ModelCosts) -> Flops:
    """A measured model's costs of the configured kind. Raises ConfigError if torch counted nothing."""
    if config.costs == "timed":
        return found.timed
    if found.counted is None:
        raise ConfigError(
            f"costs: model {found.name!r} has no counted FLOPs, for only torch's are seen, not those of numpy or "
            "scikit-learn; set `costs: timed`"
        )
    return found.counted


def declared(scorer: BareScorer, name: str) -> Flops | None:
    """What a scorer says of itself, None if it says nothing. Raises ConfigError if that is no whole number from 0."""
    if not isinstance(scorer, Scorer):
        return None
    said = []
    for attribute in ("flops_per_item", "flops_per_request"):
        value = getattr(scorer, attribute)
        try:
            said.append(operator.index(value))
        except TypeError:
            said.append(-1)
        if said[-1] < 0:
            raise ConfigError(f"model {name!r}: {attribute} is {value!r}; give a whole number of FLOPs, 0 or more")
    return Flops(*said)


class Costed:
    """The same scorer, with these costs whatever it says itself; a corpus scorer stays one."""

    def __init__(self, scorer: BareScorer, flops: Flops) -> None:
        self.score = scorer.score
        if isinstance(scorer, BareCorpusScorer):
            self.score_corpus = scorer.score_corpus
        self.flops_per_item, self.flops_per_request = flops.per_item, flops.per_request


def cure(config: CascadeConfig) -> str:
    """What to do where measured costs are missing, or of something else."""
    return f"run `greenflow calibrate --run {config.run}`"
