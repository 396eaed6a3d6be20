"""Pools of a registry: switch between colours, weigh them."""
