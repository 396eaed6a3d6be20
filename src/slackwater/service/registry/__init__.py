"""The registry: servers join and leave their load balancer by themselves."""
