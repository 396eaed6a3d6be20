"""What the doctor saw: findings, processes that hold a connection, the server's counters, logs."""
