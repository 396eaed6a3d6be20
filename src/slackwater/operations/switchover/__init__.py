"""Swap the roles of a pair without its clients noticing."""
