"""What the registry decides: leases, colours, pace."""
