"""What the registry touches: stores of members, balancers, members themselves."""
