"""The failure sweep: every step of a switchover fails in every way, on a real lab under load."""
