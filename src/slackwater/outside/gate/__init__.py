"""The gate before a port: a queue in the kernel, and the process that answers for it."""
