"""Fetch the model that MODEL_URI names, then become the server that answers for it.

`mlflow models serve` does not: as the first process of a container it would not hear SIGTERM, and
every stop would wait, then cut requests off.
"""

import os
import sys

import mlflow.artifacts
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server

uri, port = os.environ["MODEL_URI"], os.environ["PORT"]
if not port.isdecimal():
    sys.exit(f"PORT {port}: not a number")
try:
    folder = mlflow.artifacts.download_artifacts(artifact_uri=uri)
except (MlflowException, OSError) as error:
    sys.exit(f"MODEL_URI {uri}: {' '.join(str(error).split())}")
command, environment = scoring_server.get_cmd(folder, int(port), "0.0.0.0")
os.execvpe("sh", ["sh", "-c", f"exec {command}"], environment)
