"""The Ray Serve application: gateway, allocator, stages, ledger, wire format, sample log."""
