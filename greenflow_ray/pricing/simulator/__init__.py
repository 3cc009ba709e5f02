"""A day of the pricing loop without Ray: seeded traffic, drift, outages, and what the controller made of them."""

from greenflow_ray.pricing.simulator.outcome import simulate

__all__ = ["simulate"]
