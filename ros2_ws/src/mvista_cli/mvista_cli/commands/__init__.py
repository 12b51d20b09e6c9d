"""One module per command: `run(args) -> exit code`; its `add_arguments` here or in `arguments`."""
