"""Policies and reward models held against each other: who decides what for the final users, and how sure that is."""
