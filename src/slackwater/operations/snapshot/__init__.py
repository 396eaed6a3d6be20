"""Quiet moments for snapshots: freeze, thaw, take, verify."""
