"""Held maintenance: new connections wait while a command runs."""
