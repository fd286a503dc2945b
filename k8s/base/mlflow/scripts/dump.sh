#!/bin/sh
# Dump both databases into FOLDER, one file each. Usage: dump.sh FOLDER, with libpq's variables set.
set -eu
for database in mlflow mlflow_auth; do
    pg_dump --format=custom --no-owner --no-privileges --file="$1/$database.dump" "$database"
    pg_restore --list "$1/$database.dump" > /dev/null
done
