"""What stands between a person and a running graph: clients, progress, interrupts."""
