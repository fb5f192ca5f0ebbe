# One image for every step, on CPUs and NVIDIA GPUs; the locked torch includes CUDA's libraries.
# `make image` builds it, `make test-image` tests it; docs/image.md has its size and contents.
# It builds with BuildKit and with the classic builder.
# The base is pinned by the digest that Docker's official list (docker-library/repo-info, repos/python/remote/
# 3.11-slim-bookworm.md) had on 2026-08-25: Python 3.11.16. Move it with the tag; another base is --build-arg BASE=NAME.
ARG BASE=python:3.11-slim-bookworm@sha256:0bee7276f83efd4a1ee05bbbf4281d95ed28e079220a9457f25a93e3f1e3c31b

# The locked packages that steps need. --require-hashes with the lock as constraints allows only its versions and bytes.
FROM ${BASE} AS packages
WORKDIR /build
# ca.pem: certificates of a proxy, if there is one. The brackets make the file optional.
COPY pyproject.toml requirements.lock ca.pe[m] ./
ARG PIP_INDEX_URL
# torch and CUDA rarely change and are most of the image's bytes: they go to /large, which becomes a separate layer.
RUN set -eu; if [ -f ca.pem ]; then export PIP_CERT=/build/ca.pem SSL_CERT_FILE=/build/ca.pem; fi; \
    if [ -n "${PIP_INDEX_URL:-}" ]; then export UV_DEFAULT_INDEX="$PIP_INDEX_URL"; fi; \
    python3 -m venv /tools; \
    sed -n '/^uv==/,/# via/p' requirements.lock > uv.txt; \
    /tools/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes --no-deps -r uv.txt; \
    install="/tools/bin/uv pip install --quiet --no-cache --require-hashes -c requirements.lock"; \
    $install --python /tools/bin/python --group build; \
    /tools/bin/uv venv --quiet --python "$(command -v python3)" /opt/venv; \
    $install --python /opt/venv/bin/python --compile-bytecode -r pyproject.toml --extra pipeline --extra model; \
    cd /opt/venv; for name in nvidia torch triton; do \
      for found in lib/python*/site-packages/$name; do \
        mkdir -p "/large/$(dirname "$found")"; mv "$found" "/large/$found"; \
      done; \
    done

# The project at /app, with an editable install of `repose`, so that DVC hashes the code that runs.
# dvc.lock has the hashes of frozen stages, and the versions with which a stage with `persist` outputs starts.
FROM packages AS project
WORKDIR /app
COPY LICENSE README.md pyproject.toml dvc.yaml dvc.lock params.yaml .dvcignore ./
COPY .dvc/config .dvc/config
COPY baseline baseline
COPY table1 table1
COPY src src
RUN set -eu; \
    /tools/bin/python -c 'import hatchling.build; hatchling.build.build_editable("/build")'; \
    /tools/bin/uv pip install --quiet --no-cache --no-deps --offline --python /opt/venv/bin/python \
      --prefix /install/opt/venv /build/*.whl; \
    printf '[core]\n    no_scm = true\n' > .dvc/config.local; \
    python3 -m compileall -q src; \
    mkdir /install/app; cp -a . /install/app/; chmod -R a+rX,go-w /install

FROM ${BASE}
# 1777, as for /tmp, so that any user of a cluster can write there. USER below gives DVC a user name.
RUN useradd --uid 10001 --home-dir /scratch --no-create-home --shell /usr/sbin/nologin repose && install -d -m 1777 /scratch
COPY --from=packages /large/ /opt/venv/
COPY --from=packages /opt/venv/ /opt/venv/
COPY --from=project /install/ /
# All writes go to /scratch; the rest may be read-only.
ENV PATH=/opt/venv/bin:$PATH \
    USER=repose \
    HOME=/scratch \
    TMPDIR=/scratch \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DVC_NO_ANALYTICS=1 \
    DVC_SITE_CACHE_DIR=/scratch/.cache/dvc \
    REPOSE_PROJECT=/app
USER 10001:10001
WORKDIR /scratch
VOLUME /scratch
# No ENTRYPOINT, as it would consume the step's command, which Kubeflow's DockerRunner passes as arguments.
CMD ["repose", "--help"]
ARG REVISION=unknown
ENV REPOSE_COMMIT=${REVISION}
LABEL org.opencontainers.image.title="repose" \
      org.opencontainers.image.description="The steps of repose's pipeline, with CUDA libraries under NVIDIA's proprietary license" \
      org.opencontainers.image.licenses="Apache-2.0 AND BSD-3-Clause AND MIT AND MPL-2.0 AND GPL-2.0-only AND LicenseRef-NVIDIA-Proprietary" \
      org.opencontainers.image.revision="${REVISION}"
