"""Replicas, deadlines and batches of the Ray Serve application, and the load it is tried with."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from greenflow_ray.config.section import Section

ALLOCATOR = "allocator"
"""Its name among the stages', as a deployment's and in ``place``."""
Where = Literal["deployment", "gateway", "auto"]


class ReplicaConfig(Section):
    """Size and limits of one deployment."""

    replicas: int = Field(default=1, ge=1)
    cpus: float = Field(default=0.1, gt=0, description="CPUs Ray reserves for each replica")
    gpus: float = Field(default=0.0, ge=0, description="GPUs Ray reserves for each replica")
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
    linger_s: float = Field(
        default=0.0,
        ge=0,
        description="a request with which no batch is under way waits so long for company: latency for CPU time",
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
    place: Where | dict[str, Where] = Field(
        default="deployment",
        description="deployment: replicas of their own, which scale by themselves; gateway: in every gateway, which "
        "saves a message a batch; auto: wherever it is cheaper. For all, or by stage's name and `allocator`",
    )
    gateway: ReplicaConfig = ReplicaConfig(max_ongoing=4096, max_queued=4096)
    allocator: ReplicaConfig = Field(
        default=ReplicaConfig(), description="of a deployment; in a gateway only its threads count"
    )
    stage: ReplicaConfig = ReplicaConfig()
    models: dict[str, ReplicaConfig] = Field(
        default_factory=dict, description="of single model instances, by name; the others are as `stage` says"
    )

    @model_validator(mode="before")
    @classmethod
    def _older(cls, data: Any) -> Any:
        """``allocate_in`` said where the allocator is placed, and stages were deployments."""
        if not isinstance(data, dict) or "allocate_in" not in data:
            return data
        rest = {name: value for name, value in data.items() if name != "allocate_in"}
        return rest | {"place": {ALLOCATOR: data["allocate_in"]}}

    def place_of(self, name: str) -> Where:
        """Where the stage, or ``allocator``, is to run."""
        return self.place if isinstance(self.place, str) else self.place.get(name, "deployment")

    def replicas_of(self, model: str) -> ReplicaConfig:
        """Size and limits of a model instance's deployment."""
        return self.models.get(model, self.stage)


class LoadConfig(Section):
    """The open-loop trace of the demo and of `greenflow loadtest`."""

    shape: Literal["spike", "constant", "daily"] = Field(
        default="spike", description="daily: a day's wave squeezed into the duration"
    )
    requests_per_second: float = Field(default=12.0, gt=0, description="before the spike; daily: the mean")
    duration_s: float = Field(default=60.0, gt=0)
    spike_factor: float = Field(default=5.0, ge=1)
    spike_start: float = Field(default=0.5, ge=0, le=1, description="share of the duration at which the spike starts")
    spike_length: float = Field(default=0.06, ge=0, le=1, description="share of the duration that the spike lasts")
    equal: str = Field(default="fullest", description="chain of the EQUAL arm: what is served without GreenFlow")
    budget_share: float = Field(default=0.6, gt=0, le=1, description="GreenFlow's budget ÷ the fullest chain's FLOPs")
    reprice_every_s: float = Field(default=15.0, gt=0)
