"""What a person types: the `mvista` command."""
