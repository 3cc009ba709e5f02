"""Where frontiers are published by compare-and-swap: SQLite by default, Redis for a cluster."""
