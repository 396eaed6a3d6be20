"""Measurements that compare; `make bench` runs them, docs/benchmarks tells what they said."""
