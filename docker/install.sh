#!/bin/sh
# install.sh PACKAGE...: install packages into /opt/venv, with the versions of requirements.lock.
# Run it in a build stage that is discarded; pip stays there, in /opt/pip.
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
