"""What operators declare: one YAML, one pydantic model, unknown keys refused, every default written down."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from greenflow_ray.errors import ConfigError
from greenflow_ray.files import whole


class Section(BaseModel):
    """Base of all sections: frozen, and strict about unknown keys and non-finite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelConfig(Section):
    """One trained model instance of a stage's pool.

    ``factory`` is the import path ``package.module:callable`` of ``factory(weights, catalog, **args) -> Scorer``.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    factory: str = "greenflow_ray.models.artifacts:load_scorer"
    weights: Path | None = Field(default=None, description="default: <run>/models/<name>.safetensors")
    args: dict[str, Any] = Field(default_factory=dict)


class StageConfig(Section):
    """One stage: its pool, and the item scales it may score (``corpus``: always every item)."""

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    pool: tuple[ModelConfig, ...] = Field(min_length=1)
    scales: Literal["corpus"] | tuple[int, ...]

    @model_validator(mode="after")
    def _check(self) -> StageConfig:
        if self.scales != "corpus" and (
            not self.scales or min(self.scales) < 1 or len(set(self.scales)) < len(self.scales)
        ):
            raise ValueError("scales must be distinct positive integers, or 'corpus'")
        if len({m.name for m in self.pool}) < len(self.pool):
            raise ValueError("two models of the pool share a name")
        return self


class SplitConfig(Section):
    """Shares of users: cascade training, validation, reward samples; the rest are the final users."""

    train: float = Field(default=0.5, gt=0, lt=1)
    validation: float = Field(default=0.1, gt=0, lt=1)
    reward: float = Field(default=0.25, gt=0, lt=1)

    @model_validator(mode="after")
    def _check(self) -> SplitConfig:
        if self.train + self.validation + self.reward >= 1:
            raise ValueError("train + validation + reward must be below 1, so that final users remain")
        return self


class DataConfig(Section):
    """Where interactions come from; ``synthetic`` makes its own, other formats read ``path``."""

    format: Literal["auto", "synthetic", "movielens", "sequences", "kuairand", "aliccp", "parquet"] = "auto"
    path: Path | None = None
    seed: int | None = Field(
        default=None, description="of the split of users and the cut of events; null: top-level seed"
    )
    view: int = Field(
        default=0, ge=0, description="which random cut into history and clicks; only events without times have several"
    )
    split: SplitConfig = SplitConfig()
    history: float = Field(default=0.5, gt=0, lt=1, description="share of a user's events that models may see")
    users: int = Field(default=6000, ge=100, description="synthetic set only")
    items: int = Field(default=2400, ge=100, description="synthetic set only")


class TrainingConfig(Section):
    """How the cascade's models are trained."""

    epochs: int = Field(default=2, ge=1)
    batch_users: int = Field(default=16, ge=1)
    targets_per_user: int = Field(default=20, ge=1, description="clicks predicted for each user and visit")
    negatives: int = Field(default=4, ge=1, description="sampled non-clicks for each click")
    learning_rate: float = Field(default=2e-3, gt=0)
    max_users: int = Field(default=4000, ge=10, description="training users seen per epoch at most")


class RewardConfig(Section):
    """The recursive multi-basis reward model (paper, section 4.2) and how it is fitted."""

    factory: str = Field(
        default="greenflow_ray.reward.artifact:load_reward",
        description="import path of factory(folder, space, catalog) -> RewardEstimator",
    )
    recursive: bool = True
    multi_basis: bool = True
    monotone: bool = Field(default=True, description="more items never lower the total reward, by construction")
    teacher: Literal["boosted", "none"] = Field(
        default="boosted", description="boosted trees that the network learns from, on training users' features too"
    )
    bases: tuple[Literal["log1p", "tanh", "ratio", "exp", "sqrt"], ...] = ("log1p", "tanh", "ratio", "exp", "sqrt")
    hidden: int = Field(default=32, ge=4)
    epochs: int = Field(default=60, ge=1)
    learning_rate: float = Field(default=5e-3, gt=0)
    centred: float = Field(
        default=0.8, ge=0, le=1, description="weight of differences between a user's chains in the loss"
    )


class LimitFields(BaseModel):
    """What may be spent, in any of four units; where several are given the tightest binds."""

    flops_per_second: float | None = Field(default=None, gt=0, description="FLOP/s of all chains; null: no limit")
    watts: float | None = Field(
        default=None, gt=0, description="power of serving: its share of the nodes' by CPU-seconds, PUE included"
    )
    kwh_per_day: float | None = Field(
        default=None, gt=0, description="energy of serving from midnight to midnight, UTC"
    )
    grams_per_hour: float | None = Field(default=None, gt=0, description="gCO2e of serving, at the grid's intensity")


class ScheduledLimits(Section, LimitFields):
    """Limits that hold from an hour of the day (UTC) until the next entry's; none given: no limit."""

    model_config = ConfigDict(strict=True)

    from_hour: float = Field(ge=0, lt=24, description="UTC; 6.5 is half past six")


class BudgetFields(LimitFields):
    """Limits at all hours, and a schedule of further ones."""

    schedule: tuple[ScheduledLimits, ...] = Field(
        default=(), max_length=48, description="further limits by hour; before the first entry the last one holds"
    )


class BudgetConfig(Section, BudgetFields):
    """What may be spent, and how a missing price is answered."""

    policy: Literal["greenflow", "fixed"] = "greenflow"
    fixed_chain: str = Field(
        default="fullest", description="chain of the 'fixed' policy: fullest, cheapest or a chain's name"
    )
    safe_chain: str = Field(default="cheapest", description="served when no price is known")
    price_ttl_s: float = Field(default=60.0, gt=0, description="a price older than this is not used")
    exchange_s: float = Field(
        default=0.3, gt=0, description="allocators and the ledger exchange spend and price this often"
    )
    settle_s: float = Field(default=1.0, gt=0, description="gateways tell the ledger what they answered this often")
    burst_s: float = Field(default=0.5, gt=0, description="hard cap: seconds of budget that may be spent at once")
    headroom: float = Field(
        default=0.015, ge=0, lt=0.5, description="share left unspent, so that noise is not over-use"
    )
    exploration: float = Field(
        default=0.0, ge=0, lt=1, description="share of requests given a chain at random, to learn from; see `value`"
    )


class SamplingConfig(Section):
    """The sample log that repricing reads."""

    rate: float = Field(default=1.0, gt=0, le=1)
    flush_s: float = Field(default=3.0, gt=0)
    buffer_rows: int = Field(
        default=20_000, ge=1, description="rows kept while the disk is slow; more are dropped and counted"
    )
    window_s: float = Field(default=300.0, gt=0, description="repricing reads samples of this many last seconds")
    retention_s: float = Field(
        default=6 * 3600.0,
        gt=0,
        description="samples and feedback are deleted so long after; joins wait an hour for clicks",
    )
    when_fixed: bool = Field(
        default=False, description="estimate rewards and sample under the fixed policy too; off, it costs nothing"
    )


class ReplicaConfig(Section):
    """Size and limits of one deployment."""

    replicas: int = Field(default=1, ge=1)
    cpus: float = Field(default=0.1, gt=0, description="CPUs Ray reserves for each replica")
    threads: int = Field(default=1, ge=1, description="torch threads of each replica")
    max_ongoing: int = Field(default=64, ge=1)
    max_queued: int = Field(default=512, ge=1)


class ServingConfig(Section):
    """The Ray Serve application: ports, batching, deadlines, replicas."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    proxy: Literal["haproxy", "python"] = Field(
        default="haproxy", description="what `greenflow serve` puts before the gateways; haproxy falls back to python"
    )
    batch_requests: int = Field(default=64, ge=1, description="requests in a batch at most")
    batch_flops: float = Field(
        default=4e9, gt=0, description="work in a batch at most, at the gateway as expected, at stages exactly"
    )
    batch_wait_s: float = Field(
        default=0.05, ge=0, description="a batch starts when none is under way, or when a request has waited so long"
    )
    deadline_s: float = Field(default=2.0, gt=0)
    allocator_deadline_s: float = Field(default=0.25, gt=0)
    max_waiting: int = Field(default=2000, ge=1, description="requests waiting at a gateway; more are shed with 429")
    batches_running: int = Field(default=4, ge=1, description="batches under way at a gateway; more grow instead")
    body_limit: int = Field(default=1 << 20, ge=1024)
    features: str = Field(
        default="greenflow_ray.serving.sources:prepared",
        description="import path of factory(config) -> Source(catalog, features)",
    )
    allocate_in: Literal["deployment", "gateway"] = Field(
        default="deployment",
        description="deployment: allocators are replicas and scale by themselves; gateway: each gateway has one of its "
        "own, which saves a message a batch and is right unless the reward model is heavy",
    )
    gateway: ReplicaConfig = ReplicaConfig(max_ongoing=4096, max_queued=4096)
    allocator: ReplicaConfig = Field(
        default=ReplicaConfig(), description="of allocate_in: deployment; in a gateway only its threads count"
    )
    stage: ReplicaConfig = ReplicaConfig()
    models: dict[str, ReplicaConfig] = Field(
        default_factory=dict, description="of single model instances, by name; the others are as `stage` says"
    )

    def replicas_of(self, model: str) -> ReplicaConfig:
        """Size and limits of a model instance's deployment."""
        return self.models.get(model, self.stage)


class CarbonConfig(Section):
    """Where the carbon intensity of the grid comes from."""

    source: Literal["country", "constant", "replay", "electricity-maps", "uk-grid"] = Field(
        default="country", description="country: yearly average of energy.country_iso_code, from codecarbon's table"
    )
    grams_per_kwh: float | None = Field(default=None, ge=0, description="constant: gCO2e/kWh")
    path: Path | None = Field(default=None, description="replay: CSV of grams_per_kwh and time, or hour of the UTC day")
    zone: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9-]+$",
        description="electricity-maps: e.g. DE; uk-grid: region 1 to 17 or outward postcode, null: all of it",
    )
    token_env: str = Field(
        default="ELECTRICITY_MAPS_TOKEN", min_length=1, description="name of the environment variable with the token"
    )
    url: str | None = Field(default=None, pattern=r"^https?://[^/@\s]+(/\S*)?$", description="null: the service's own")
    kind: Literal["average", "marginal"] = Field(default="average", description="what a constant or a replay holds")
    refresh_s: float = Field(default=300.0, gt=0, description="live: the service is asked this often")
    limit_s: float = Field(default=7200.0, gt=0, description="a value is stale so long after the time it stands for")
    timeout_s: float = Field(default=5.0, gt=0, description="live: for one whole answer")

    @model_validator(mode="after")
    def _check(self) -> CarbonConfig:
        needs = {"constant": "grams_per_kwh", "replay": "path", "electricity-maps": "zone"}.get(self.source)
        if needs is not None and getattr(self, needs) is None:
            raise ValueError(f"source {self.source} needs {needs}")
        users = {"grams_per_kwh": ("constant",), "path": ("replay",), "zone": ("electricity-maps", "uk-grid")}
        for name, sources in users.items():
            if getattr(self, name) is not None and self.source not in sources:
                raise ValueError(f"{name} is for source {' or '.join(sources)}; remove it or set source")
        if self.kind == "marginal" and self.source not in ("constant", "replay"):
            raise ValueError(f"kind: source {self.source} gives average intensities; set kind: average")
        region = self.zone if self.source == "uk-grid" else None
        if region is not None and region.isdecimal() and not 1 <= int(region) <= 17:
            raise ValueError(f"zone: {region} is no region of the grid; use 1 to 17, or a postcode such as RG10")
        return self


class EnergyConfig(Section):
    """How joules become grams."""

    country_iso_code: str = Field(default="USA", min_length=3, max_length=3)
    pue: float = Field(default=1.67, ge=1, description="power usage effectiveness (paper: 1.67)")
    live: bool = Field(default=True, description="a meter on every node while serving; a budget in watts needs it")
    window_s: float = Field(default=5.0, gt=0, description="the meters are read this often")
    joules_per_flop: float | None = Field(
        default=None, gt=0, description="of serving, PUE included, until observed; null: wait for traffic"
    )
    embodied_kg: float | None = Field(
        default=None, ge=0, description="kgCO2e of making one node; null: left out of the SCI"
    )
    lifetime_years: float = Field(default=4.0, gt=0, description="over which a node's embodied carbon is spread")
    carbon: CarbonConfig = CarbonConfig()


class LoadConfig(Section):
    """The open-loop trace of the demo and of `greenflow loadtest`."""

    shape: Literal["spike", "constant", "daily"] = Field(
        default="spike", description="daily: a day's wave squeezed into the duration"
    )
    requests_per_second: float = Field(default=12.0, gt=0, description="before the spike; daily: the mean")
    duration_s: float = Field(default=75.0, gt=0)
    spike_factor: float = Field(default=5.0, ge=1)
    spike_start: float = Field(default=0.5, ge=0, le=1, description="share of the duration at which the spike starts")
    spike_length: float = Field(default=0.06, ge=0, le=1, description="share of the duration that the spike lasts")
    budget_share: float = Field(default=0.6, gt=0, le=1, description="GreenFlow's budget ÷ the fullest chain's FLOPs")
    reprice_every_s: float = Field(default=15.0, gt=0)


class CascadeConfig(Section):
    """The whole declaration. Relative paths are taken from the working directory."""

    name: str = Field(default="default", description="what reports call this cascade")
    run: Path = Path("runs/demo")
    prepared: Path | None = Field(
        default=None, description="the prepared set's folder; null: data/ in the run's folder"
    )
    seed: int = 0
    exposure: int = Field(default=20, ge=1, description="items exposed to the user (the paper's e)")
    history_length: int = Field(default=32, ge=1, description="most recent history items that models attend to")
    stages: tuple[StageConfig, ...] = Field(min_length=2, max_length=6)
    costs: Literal["declared", "timed", "counted"] = Field(
        default="declared",
        description="what models cost: what they declare, or what `greenflow calibrate` timed, or counted in torch",
    )
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    reward: RewardConfig = RewardConfig()
    budget: BudgetConfig = BudgetConfig()
    sampling: SamplingConfig = SamplingConfig()
    serving: ServingConfig = ServingConfig()
    energy: EnergyConfig = EnergyConfig()
    load: LoadConfig = LoadConfig()

    @model_validator(mode="after")
    def _check(self) -> CascadeConfig:
        last = self.stages[-1].scales
        if last != "corpus" and min(last) < self.exposure:
            raise ValueError(f"stages.{len(self.stages) - 1}.scales: {min(last)} is below exposure {self.exposure}")
        names = [m.name for s in self.stages for m in s.pool]
        if len(set(names)) < len(names):
            raise ValueError("two models share a name; names are unique across stages")
        unknown = sorted(set(self.serving.models) - set(names))
        if unknown:
            raise ValueError(f"serving.models: no model is called {unknown[0]!r}; use one of {', '.join(names)}")
        return self

    @property
    def paths(self) -> RunPaths:
        """Where this run's files lie."""
        return RunPaths(self.run, self.prepared)

    @property
    def data_seed(self) -> int:
        """Seed of all that concerns the data."""
        return self.seed if self.data.seed is None else self.data.seed

    def absolute(self) -> CascadeConfig:
        """The same with absolute paths, for processes with another working directory."""

        def resolved(path: Path | None) -> Path | None:
            return None if path is None else path.resolve()

        stages = tuple(
            stage.model_copy(
                update={
                    "pool": tuple(m.model_copy(update={"weights": resolved(m.weights)}) for m in stage.pool),
                }
            )
            for stage in self.stages
        )
        carbon = self.energy.carbon.model_copy(update={"path": resolved(self.energy.carbon.path)})
        energy = self.energy.model_copy(update={"carbon": carbon})
        return self.model_copy(
            update={"run": self.run.resolve(), "prepared": resolved(self.prepared), "stages": stages, "energy": energy}
        )

    def check_corpus(self, n_items: int) -> None:
        """Raise ConfigError if a stage would score more items than the corpus holds."""
        for i, stage in enumerate(self.stages):
            if stage.scales != "corpus" and max(stage.scales) > n_items:
                raise ConfigError(
                    f"stages.{i}.scales: {max(stage.scales)} exceeds the corpus of {n_items} items; "
                    f"lower it to {n_items} or less"
                )

    def digest(self, *sections: str) -> str:
        """SHA-256 of the named sections' values: artifacts are reused while it stays the same."""
        dumped = self.model_dump(mode="json")
        text = json.dumps({name: dumped[name] for name in sections}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


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


def builtin(name: str) -> Path:
    """File of a built-in cascade of the offline experiments. Raises ConfigError naming those there are."""
    folder = Path(__file__).parent / "cascades"
    path = folder / f"{name}.yaml"
    if not path.is_file():
        there = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise ConfigError(f"cascade {name!r}: there is none of that name; use one of {there}, or --config FILE")
    return path


def parse(text: str, where: str) -> CascadeConfig:
    """Read YAML text; ``where`` names it in errors. Raises ConfigError on one line."""
    try:
        raw = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{where}: expected a mapping at the top level, found {type(raw).__name__}")
    return validated(raw, where)


def validated(raw: dict[str, Any], where: str) -> CascadeConfig:
    """Check plain values; ``where`` names their source. Raises ConfigError on one line."""
    try:
        return CascadeConfig.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(p) for p in first["loc"]) or "configuration"
        cure = (
            "remove it or check its spelling"
            if first["type"] == "extra_forbidden"
            else "`greenflow config` prints a valid one"
        )
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise ConfigError(f"{where}: {place}: {first['msg'].removeprefix('Value error, ')}; {cure}{more}") from error


def load(path: Path | str) -> CascadeConfig:
    """Read a cascade's YAML file. Raises ConfigError if it is missing or wrong."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: cannot be read ({type(error).__name__}); give the path of a cascade's YAML file"
        ) from error
    return parse(text, str(path))


def store(config: CascadeConfig) -> Path:
    """Write the resolved configuration into the run's folder, where replicas and jobs read it; returns its path."""
    with whole(config.paths.config) as part:
        part.write_text(dump(config), encoding="utf-8")
    return config.paths.config


def dump(config: CascadeConfig) -> str:
    """YAML text that :func:`parse` reads back to an equal configuration."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
