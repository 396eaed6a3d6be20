"""Why connections to a server are lost."""
