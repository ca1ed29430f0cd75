# Two stages: the compiler stays in the first, the second holds the installed package and Python.

FROM python:3.12-slim AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# .dockerignore lets only the package's own files in.
COPY . .
# Compiled or not at all: plain Python, which pip falls back to, would be slow and nobody would know.
RUN BUILD_NEARHIT=compiled pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && python -m venv --without-pip /opt/nearhit \
    && pip --python /opt/nearhit/bin/python install --no-cache-dir /wheels/*.whl

FROM python:3.12-slim
COPY --from=build /opt/nearhit /opt/nearhit
# Defaults of this image: a settings file beats them (NEARHIT_CONFIG), and so does all else.
ENV PATH=/opt/nearhit/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NEARHIT_DEFAULT_LISTEN=0.0.0.0:6380 \
    NEARHIT_DEFAULT_HTTP=0.0.0.0:3000 \
    NEARHIT_DEFAULT_ENV=production \
    NEARHIT_DEFAULT_PROTECTED_MODE=off
# Nothing is installed from here on, so there is nothing to install with.
RUN useradd --system --no-create-home --uid 10001 nearhit \
    && rm -rf /usr/local/bin/pip* /usr/local/lib/python3.*/ensurepip \
        /usr/local/lib/python3.*/site-packages/pip*
# By number: Kubernetes does not know that a name is no root's (runAsNonRoot).
USER 10001
EXPOSE 6380 3000
# Of the settings in the environment and in NEARHIT_CONFIG: flags behind `serve` are not seen.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["nearhit", "health"]
ENTRYPOINT ["nearhit"]
CMD ["serve"]
