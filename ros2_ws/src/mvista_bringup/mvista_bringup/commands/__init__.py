"""One module per command: `run(args) -> exit code`; `add_arguments(parser)` here or in `arguments/`."""
