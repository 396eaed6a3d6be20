"""MySQL and MariaDB servers: sessions, one vocabulary over their dialects, their files."""
