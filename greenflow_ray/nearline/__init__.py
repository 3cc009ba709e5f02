"""Ray Data aggregation of samples into a frontier, and its publication."""
