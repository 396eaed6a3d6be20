"""Prove that two servers have the same rows."""
