"""How people ask: one small module a command."""
