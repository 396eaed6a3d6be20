"""The world, 1:1: MySQL sessions, HAProxy, files, commands. No decisions."""
