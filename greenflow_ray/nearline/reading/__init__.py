"""Which files of the logs may be used, how they are read, and how long they are kept."""
