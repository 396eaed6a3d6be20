"""HAProxy: its runtime API, its configuration files."""
