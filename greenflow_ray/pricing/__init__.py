"""What a FLOP is worth now: frontier, exact solvers, controller, price store (no Ray)."""
