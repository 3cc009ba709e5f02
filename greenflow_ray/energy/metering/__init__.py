"""Joules and CPU-seconds of this node, as hardware, operating system and codecarbon tell them."""
