"""The report as people read it: page, terminal, picture."""
