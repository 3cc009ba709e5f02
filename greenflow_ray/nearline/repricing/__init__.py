"""Samples to a frontier to a published price."""
