"""What a model instance costs: declared, counted in torch, or timed on this machine."""
