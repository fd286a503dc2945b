"""Exit 0 where MLflow serves a real call: it lets our host name in, and has accounts and data.

Usage: ready.py URL HOST, the admin's password in MLFLOW_AUTH_ADMIN_PASSWORD.
"""

import base64
import os
import sys
import urllib.request

url, host = sys.argv[1:]
account = f"admin:{os.environ['MLFLOW_AUTH_ADMIN_PASSWORD']}".encode()
request = urllib.request.Request(
    f"{url}/api/2.0/mlflow/experiments/search?max_results=1",
    headers={"Host": host, "Authorization": f"Basic {base64.b64encode(account).decode()}"},
)
try:
    urllib.request.urlopen(request, timeout=8).read()
except OSError as error:  # HTTP errors, too
    sys.exit(f"{host}: {error}")
