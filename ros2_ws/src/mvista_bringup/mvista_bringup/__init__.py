"""Starts the stack: the node table, its supervisor and launch files, and the `mvista` command."""
