"""Joules to grams: the grid's carbon intensity, from wherever it is known, and the SCI of a service."""
