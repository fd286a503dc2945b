"""Output for the competition: a checked submission.csv and the offline bundle that makes it."""
