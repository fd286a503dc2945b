# Training and every component of the pipelines, on a GPU or without.
# BASE needs python3 (3.11 or newer) and CA certificates, BUILDER also venv and the same python3.
# For a GPU no CUDA base is needed where torch comes from PyPI: its wheels bring CUDA along.
ARG BASE=python:3.11-slim-bookworm
ARG BUILDER=${BASE}

FROM ${BUILDER} AS packages
WORKDIR /src
COPY docker/install.sh pyproject.toml requirements.lock ./
RUN python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' > dependencies.txt
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca,target=/run/secrets/ca \
    --mount=type=cache,target=/root/.cache/pip \
    sh install.sh --requirement dependencies.txt

# The code apart from the packages: its layer is small, and is all that a commit changes.
FROM packages AS code
COPY LICENSE README.md ./
COPY ranzcr ranzcr
COPY components components
COPY pipelines pipelines
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca,target=/run/secrets/ca \
    --mount=type=cache,target=/root/.cache/pip \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi; \
    /opt/pip/bin/pip --python /opt/venv/bin/python install --no-deps --target /opt/ranzcr .

FROM ${BASE}
RUN groupadd --gid 10001 ranzcr \
    && useradd --uid 10001 --gid 10001 --home-dir /tmp --no-create-home --no-log-init ranzcr \
    && install --directory --owner 10001 --group 10001 /work
COPY --from=packages /opt/venv /opt/venv
COPY --from=code /opt/ranzcr /opt/ranzcr
# HOME: the root file system may be read-only, and the user any. USER: where it has no name.
ENV PATH=/opt/ranzcr/bin:/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/ranzcr \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    USER=ranzcr \
    RANZCR_HOME=/work \
    NO_ALBUMENTATIONS_UPDATE=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /work
CMD ["ranzcr", "--help"]
ARG VERSION
ARG COMMIT
ENV RANZCR_COMMIT=${COMMIT}
LABEL org.opencontainers.image.title="ranzcr" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}"
