"""The offline experiments: policies compared on users that nothing was fitted to."""
