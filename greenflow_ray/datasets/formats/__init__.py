"""One module a source of interactions: what its files look like, and what counts as a click."""
