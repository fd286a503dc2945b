#!/bin/sh
# Both databases to the schema of this MLflow; makes the tables of empty ones.
set -eu
mlflow db upgrade "$MLFLOW_BACKEND_STORE_URI"
python -m mlflow.server.auth db upgrade --url "$(sed -n 's/^database_uri = //p' "$MLFLOW_AUTH_CONFIG_PATH")"
