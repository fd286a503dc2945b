"""Predictions of trained networks: torch, ONNX export, and the runtime that is served."""
