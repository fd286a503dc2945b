"""Writing to MLflow: runs, the queue on disk that feeds them, the names of what is recorded."""
