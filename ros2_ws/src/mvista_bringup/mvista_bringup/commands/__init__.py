"""One module per `mvista` command: `add_arguments(parser)` and `run(args) -> exit code`."""
