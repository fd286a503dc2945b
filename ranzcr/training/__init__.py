"""Training one fold: losses, optimisers and schedules, the recipe, fit."""

from ranzcr import models  # noqa: F401  defines operators that Lightning's import needs
