#!/bin/sh
# Upgrade both databases to the schema of this MLflow; create the tables if they are empty.
set -eu
mlflow db upgrade "$MLFLOW_BACKEND_STORE_URI"
python -m mlflow.server.auth db upgrade --url "$(sed -n 's/^database_uri = //p' "$MLFLOW_AUTH_CONFIG_PATH")"
