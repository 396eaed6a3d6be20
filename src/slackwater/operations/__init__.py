"""The runbooks: one file each, plan() on top, its steps below."""
