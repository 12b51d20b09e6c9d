"""What is imagined against what is filmed, beside the answers that need no world model."""
