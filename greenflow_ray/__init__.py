"""GreenFlow on Ray: computation allocation for cascade recommenders under a compute or carbon budget."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("greenflow-ray")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"
