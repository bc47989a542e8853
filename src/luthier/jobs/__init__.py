"""One module per stored unit of work: train, predict, score text; and `compare`, which runs them all."""
