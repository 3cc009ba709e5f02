"""The line of life behind the commands: data, models, reward, serve, traffic, report."""
