"""Compiled passes over reward rows: hulls, tallies, choices; without temporaries, on every core."""
