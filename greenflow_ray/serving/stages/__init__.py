"""Model instances at work: one deployment each."""
