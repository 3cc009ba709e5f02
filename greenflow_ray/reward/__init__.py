"""What a chain is worth to a request: the recursive multi-basis model, its samples, training and calibration."""
