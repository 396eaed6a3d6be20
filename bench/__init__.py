"""Measurements that compare; `make bench` runs them, docs/benchmarks.md tells what they said."""
