"""What pictures and pages of every room are made of."""
