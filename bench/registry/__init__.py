"""Measurements of the registry."""
