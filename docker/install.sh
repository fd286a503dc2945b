#!/bin/sh
# install.sh WHAT...: pip installs WHAT into /opt/venv, in the versions of requirements.lock.
# Runs in a stage that is thrown away: pip itself stays there, in /opt/pip.
set -eu
if [ -s /run/secrets/ca ]; then
    export PIP_CERT=/run/secrets/ca
fi
python3 -m venv /opt/pip
python3 -m venv --without-pip /opt/venv
/opt/pip/bin/pip --disable-pip-version-check --python /opt/venv/bin/python \
    install --constraint requirements.lock "$@"
/opt/pip/bin/pip --disable-pip-version-check --python /opt/venv/bin/python \
    freeze --all > /opt/venv/packages.txt
