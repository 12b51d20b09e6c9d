"""What is started: the rows of every graph, and what they are made of."""
