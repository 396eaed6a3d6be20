"""A look at a host beside `lsof -i`: `python -m bench.doctor`."""
