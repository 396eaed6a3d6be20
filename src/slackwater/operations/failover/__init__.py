"""Promote the passive when the active is dead; bring the old one back."""
