"""What is wrong with servers that shall replicate from each other, and what to do with them."""
