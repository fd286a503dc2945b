"""Wait until mlflow-migrate has made the tables of both databases, as libpq's variables name them.

That they are up to date, MLflow asks by itself when it starts.
"""

import time
from contextlib import closing

import psycopg2

MADE = {"mlflow": "alembic_version", "mlflow_auth": "alembic_version_auth"}


def missing(database: str, table: str) -> str | None:
    """What is not there yet, None where all is."""
    try:
        with closing(psycopg2.connect(dbname=database, connect_timeout=5)) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT to_regclass(%s)", [table])
            return None if cursor.fetchone()[0] else f"{database}: no tables; see mlflow-migrate"
    except psycopg2.OperationalError as error:
        return f"{database}: {' '.join(str(error).split())}"


for name, table in MADE.items():
    while problem := missing(name, table):
        print(problem, flush=True)
        time.sleep(3)
