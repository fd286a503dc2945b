"""Training one fold: losses, optimisers and schedules, the recipe, fit."""
