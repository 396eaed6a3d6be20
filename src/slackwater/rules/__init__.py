"""What to decide: facts in, a decision and its reasons out. No I/O."""
