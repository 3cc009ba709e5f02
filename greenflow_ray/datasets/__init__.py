"""Where interactions come from, brought to one schema, with users split once."""
