"""A throwaway pair on this machine: servers, balancer, load, verifier."""
