"""Samples and clicks to Parquet, off the request path."""
