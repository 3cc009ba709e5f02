"""Open-loop traffic, and what it saw."""
