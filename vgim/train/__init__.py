"""Training: the loop of each rank, the greedy step, schedules, and the trainer that launches workers."""
