"""The engine: steps, plans, the one runner, the journal, waiting. Knows no MySQL."""
