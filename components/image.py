"""The image that every component runs in, until compiling or a runner puts another in its place."""

RANZCR = "ranzcr-python:local"  # kfp.local warns of a name without python, and uses none
