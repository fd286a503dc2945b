"""Run the rendered pods of MLflow on this machine: their databases, object store and Secrets."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import postgres
import swift
from kubelet import Kubelet
from manifests import Object, pods_of
from processes import free_ports

PASSWORD = secrets.token_urlsafe(16)  # of MLflow's admin


def databases(cluster: postgres.Cluster) -> dict[str, str]:
    """Create the two databases; return the variables by which libpq finds them."""
    url = urlsplit(cluster.database("mlflow"))
    cluster.database("mlflow_auth")
    return {
        "PGHOST": str(url.hostname),
        "PGPORT": str(url.port),
        "PGUSER": str(url.username),
        "PGPASSWORD": str(url.password),
    }


def migrated(
    objects: tuple[Object, ...], database: Mapping[str, str], s3: Mapping[str, str], root: Path
) -> Kubelet:
    """Create the tables in both databases; return the kubelet that did."""
    runner = kubelet(objects, database, s3, root)
    runner.run(pods_of(objects, "Job/mlflow-migrate"), "migrate")
    return runner


def kubelet(
    objects: tuple[Object, ...], database: Mapping[str, str], s3: Mapping[str, str], root: Path
) -> Kubelet:
    """Return a kubelet for MLflow's pods that uses these databases, this store and a free port."""
    keys = {name: s3[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    (port,) = free_ports(1)
    binaries = postgres.binaries()
    assert binaries is not None
    return Kubelet(
        objects,
        {
            "mlflow-postgres": {name: database[name] for name in ("PGUSER", "PGPASSWORD")},
            "mlflow-s3": keys,
            "backup-s3": keys,
            "mlflow-server": {
                "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
                "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_urlsafe(32),
            },
        },
        root,
        replacements={
            "--host=0.0.0.0": "--host=127.0.0.1",
            "--port=5000": f"--port={port}",
            "http://127.0.0.1:5000": f"http://127.0.0.1:{port}",
        },
        variables={
            "PGHOST": database["PGHOST"],
            "PGPORT": database["PGPORT"],
            "PGSSLMODE": "disable",
            "AWS_ENDPOINT_URL_S3": s3["AWS_ENDPOINT_URL_S3"],
            "MLFLOW_S3_ENDPOINT_URL": s3["AWS_ENDPOINT_URL_S3"],
            "AWS_DEFAULT_REGION": s3["AWS_DEFAULT_REGION"],
            "ARTIFACTS": f"s3://{swift.BUCKET}/platform",
            "BACKUP_URI": f"s3://{swift.BUCKET}/backups",
        },
        path=binaries,
    )
