# MLflow's server: the journal and the registry. The environment and the command line set its
# databases, artifact store and users. For BASE and BUILDER see ranzcr.Dockerfile.
ARG BASE=python:3.11-slim-bookworm
ARG BUILDER=${BASE}

FROM ${BUILDER} AS packages
WORKDIR /src
COPY docker/install.sh requirements.lock ./
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca,target=/run/secrets/ca \
    --mount=type=cache,target=/root/.cache/pip \
    sh install.sh 'mlflow[auth]' boto3 prometheus-flask-exporter psycopg2-binary

FROM ${BASE}
# The official Python image contains pip; remove it.
RUN groupadd --gid 10001 ranzcr \
    && useradd --uid 10001 --gid 10001 --home-dir /tmp --no-create-home --no-log-init ranzcr \
    && install --directory --owner 10001 --group 10001 /srv \
    && { python3 -m pip uninstall --yes pip setuptools wheel 2> /dev/null || true; }
COPY --from=packages /opt/venv /opt/venv
# Job execution would start eight more processes, which we do not need.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    USER=ranzcr \
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false \
    MLFLOW_DISABLE_TELEMETRY=true \
    MLFLOW_HOST=0.0.0.0 \
    MLFLOW_PORT=5000
USER 10001:10001
WORKDIR /srv
EXPOSE 5000
# Clear the entry point of BASE.
ENTRYPOINT []
CMD ["mlflow", "server"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "from os import environ; from urllib.request import urlopen; urlopen('http://127.0.0.1:' + environ['MLFLOW_PORT'] + '/health', timeout=4)"]
ARG BASE
ARG BASE_DIGEST
ARG VERSION
ARG COMMIT
LABEL org.opencontainers.image.title="ranzcr-mlflow" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE}" \
      org.opencontainers.image.base.digest="${BASE_DIGEST}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}"
