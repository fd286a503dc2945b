"""Exit with 0 if MLflow answers a real call: it admits the host name, has accounts and data.

Usage: ready.py URL HOST, with the admin's password in MLFLOW_AUTH_ADMIN_PASSWORD.
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
except OSError as error:  # HTTP errors included
    sys.exit(f"{host}: {error}")
