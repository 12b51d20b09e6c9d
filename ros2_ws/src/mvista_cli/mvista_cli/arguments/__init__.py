"""The options of commands whose bodies take long to import: `--help` reads only these."""
