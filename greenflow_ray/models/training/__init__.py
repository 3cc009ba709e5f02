"""Fitting the cascade's models on training users, and keeping them."""
