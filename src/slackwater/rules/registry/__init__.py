"""What the registry decides: leases, order, colours, pace."""
