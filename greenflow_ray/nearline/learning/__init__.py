"""What the log teaches: clicks joined to samples, and what other policies would have earned."""
