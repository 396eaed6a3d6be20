"""How long writers wait for a snapshot."""
