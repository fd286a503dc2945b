#!/bin/sh
# Restore both databases from FOLDER, each completely or not at all; their contents are replaced.
# Usage: restore.sh FOLDER, with libpq's variables set. No other session may be open.
set -eu
others=$(psql --no-psqlrc --tuples-only --no-align --dbname=mlflow --command="
    SELECT count(*) FROM pg_stat_activity
    WHERE datname IN ('mlflow', 'mlflow_auth') AND pid <> pg_backend_pid()")
if [ "$others" -gt 0 ]; then
    echo "$others sessions are open on the databases; scale the deployment mlflow to 0 first" >&2
    exit 1
fi
for database in mlflow mlflow_auth; do
    pg_restore --no-owner --no-privileges --file="$1/$database.sql" "$1/$database.dump"
done
for database in mlflow mlflow_auth; do
    psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --single-transaction --dbname="$database" \
        --command='DROP SCHEMA public CASCADE' --command='CREATE SCHEMA public' \
        --file="$1/$database.sql" > /dev/null
done
