"""What replicas load when they start: the catalog and the features of users, by default from the prepared tables."""

from __future__ import annotations

from dataclasses import dataclass

from greenflow_ray.config import CascadeConfig
from greenflow_ray.datasets import storage
from greenflow_ray.datasets.features import FeatureSource, TableFeatures
from greenflow_ray.datasets.schema import Catalog
from greenflow_ray.errors import ConfigError
from greenflow_ray.support.imports import import_object


@dataclass(frozen=True)
class Source:
    """The corpus, and where a request's features come from."""

    catalog: Catalog
    features: FeatureSource


def prepared(config: CascadeConfig) -> Source:
    """The run's own prepared data set; the default of ``serving.features``."""
    dataset = storage.load(config.paths.data)
    return Source(dataset.catalog, TableFeatures(dataset.users))


def load_source(config: CascadeConfig) -> Source:
    """The source that the configuration names."""
    source = import_object(config.serving.features, "serving.features")(config)
    if not isinstance(source, Source):
        raise ConfigError(f"serving.features: {config.serving.features!r} returned {type(source).__name__}, not Source")
    return source
