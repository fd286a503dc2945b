"""Wait until mlflow-migrate has created the tables of both databases; libpq's variables name them.

MLflow itself checks at its start that they are up to date.
"""

import time
from contextlib import closing

import psycopg2

TABLES = {"mlflow": "alembic_version", "mlflow_auth": "alembic_version_auth"}


def missing(database: str, table: str) -> str | None:
    """Return a message if the table does not exist yet, else None."""
    try:
        with closing(psycopg2.connect(dbname=database, connect_timeout=5)) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT to_regclass(%s)", [table])
            return None if cursor.fetchone()[0] else f"{database}: no tables; see mlflow-migrate"
    except psycopg2.OperationalError as error:
        return f"{database}: {' '.join(str(error).split())}"


for name, table in TABLES.items():
    while problem := missing(name, table):
        print(problem, flush=True)
        time.sleep(3)
