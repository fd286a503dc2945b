# Predictions of a registered model on a CPU: MLflow's scoring server, POST /invocations, GET /ping.
# The model contains its own code; this image has the packages that it needs, without torch.
# For BASE and BUILDER see ranzcr.Dockerfile.
ARG BASE=python:3.11-slim-bookworm
ARG BUILDER=${BASE}

FROM ${BUILDER} AS packages
WORKDIR /src
COPY docker/install.sh requirements.lock ./
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca,target=/run/secrets/ca \
    --mount=type=cache,target=/root/.cache/pip \
    sh install.sh mlflow-skinny joblib numpy onnxruntime opencv-python-headless pandas

FROM ${BASE}
# The official Python image contains pip; remove it.
RUN groupadd --gid 10001 ranzcr \
    && useradd --uid 10001 --gid 10001 --home-dir /tmp --no-create-home --no-log-init ranzcr \
    && install --directory --owner 10001 --group 10001 /srv \
    && { python3 -m pip uninstall --yes pip setuptools wheel 2> /dev/null || true; }
COPY --from=packages /opt/venv /opt/venv
COPY --chmod=644 docker/serve.py /opt/serve.py
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    USER=ranzcr \
    MLFLOW_DISABLE_TELEMETRY=true \
    MODEL_URI=models:/ranzcr-clip@champion \
    PORT=8080
USER 10001:10001
WORKDIR /srv
EXPOSE 8080
# Clear the entry point of BASE.
ENTRYPOINT []
CMD ["python", "/opt/serve.py"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "from os import environ; from urllib.request import urlopen; urlopen('http://127.0.0.1:' + environ['PORT'] + '/ping', timeout=4)"]
ARG BASE
ARG BASE_DIGEST
ARG VERSION
ARG COMMIT
LABEL org.opencontainers.image.title="ranzcr-serve" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE}" \
      org.opencontainers.image.base.digest="${BASE_DIGEST}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}"
