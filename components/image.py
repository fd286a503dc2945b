"""The image of all components, which the compiler or a runner replaces by another."""

RANZCR = "ranzcr-python:local"  # kfp.local warns of a name without python, and uses none
