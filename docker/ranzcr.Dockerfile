# Training and every component of the pipelines, with or without a GPU.
# BASE needs python3 (3.11 or newer) and CA certificates, BUILDER also needs venv
# and the same python3.
# GPUs need no CUDA base if torch comes from PyPI: its wheels contain CUDA.
ARG BASE=python:3.11-slim-bookworm
ARG BUILDER=${BASE}

# A stage of its own, so that other edits of pyproject.toml do not reinstall the packages.
FROM ${BUILDER} AS dependencies
WORKDIR /src
COPY pyproject.toml ./
RUN python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' > dependencies.txt

FROM ${BUILDER} AS packages
WORKDIR /src
COPY docker/install.sh requirements.lock ./
COPY --from=dependencies /src/dependencies.txt ./
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca,target=/run/secrets/ca \
    --mount=type=cache,target=/root/.cache/pip \
    sh install.sh --requirement dependencies.txt

# The code has its own small layer, the only one that a commit changes.
# setuptools, which builds the wheel, is in the venv because torch needs it.
FROM packages AS code
COPY LICENSE README.md pyproject.toml ./
COPY ranzcr ranzcr
COPY components components
COPY pipelines pipelines
RUN /opt/pip/bin/pip --disable-pip-version-check --python /opt/venv/bin/python \
    install --no-deps --no-build-isolation --target /opt/ranzcr .

FROM ${BASE}
# The official Python image contains pip; remove it.
RUN groupadd --gid 10001 ranzcr \
    && useradd --uid 10001 --gid 10001 --home-dir /tmp --no-create-home --no-log-init ranzcr \
    && install --directory --owner 10001 --group 10001 /srv \
    && { python3 -m pip uninstall --yes pip setuptools wheel 2> /dev/null || true; }
COPY --from=packages /opt/venv /opt/venv
COPY --from=code /opt/ranzcr /opt/ranzcr
# NVIDIA_VISIBLE_DEVICES is not set, so a container sees only the GPUs that it requests.
# HOME is writable even with a read-only root file system; USER is for user ids without a name.
ENV PATH=/opt/ranzcr/bin:/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/ranzcr \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    USER=ranzcr \
    RANZCR_HOME=/srv/ranzcr \
    NO_ALBUMENTATIONS_UPDATE=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /srv
# Clear the entry point of BASE.
ENTRYPOINT []
CMD ["ranzcr", "--help"]
ARG BASE
ARG BASE_DIGEST
ARG VERSION
ARG COMMIT
ENV RANZCR_COMMIT=${COMMIT}
LABEL org.opencontainers.image.title="ranzcr" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE}" \
      org.opencontainers.image.base.digest="${BASE_DIGEST}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}"
