"""Starting and stopping the application on this machine."""
