"""What a FLOP is worth now: frontier, exact solvers, choice, controller and price store. No Ray in here."""
