"""From two servers to a pair that replicates, proven."""
