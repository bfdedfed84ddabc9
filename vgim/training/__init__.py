"""Training: the loop of each rank, the greedy step, and the trainer that launches workers."""
