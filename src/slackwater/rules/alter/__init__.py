"""Whether two versions of a schema can replicate to each other, and what it takes."""
