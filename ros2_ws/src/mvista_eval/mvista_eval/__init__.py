"""What is measured: trials, benches, statistics and figures, against simulated truth or live."""
