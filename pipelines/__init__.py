"""Wiring and hardware only: what runs after what, and where. Nothing here decides a model."""
