"""Several budgets at once."""
