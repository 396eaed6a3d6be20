"""Holding a port with NFQUEUE beside dropping packets: `python -m bench.hold`."""
