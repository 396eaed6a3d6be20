"""What was seen: frozen dataclasses and pure parsers of raw output."""
