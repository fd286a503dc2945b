"""Download the model MODEL_URI, then replace this process by its server.

`mlflow models serve` would stay the container's first process and ignore SIGTERM: each stop would
wait, then cut off requests.
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
