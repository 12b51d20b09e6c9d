"""One run of the whole system on the simulated cell: flow, recording, and what the report shows."""
