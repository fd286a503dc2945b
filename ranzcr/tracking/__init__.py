"""The record: the lab journal and the model registry. The only room that imports mlflow."""
