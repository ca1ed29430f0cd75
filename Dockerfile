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
    && python -m venv /opt/nearhit \
    && /opt/nearhit/bin/pip install --no-cache-dir /wheels/*.whl

FROM python:3.12-slim
COPY --from=build /opt/nearhit /opt/nearhit
ENV PATH=/opt/nearhit/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NEARHIT_LISTEN=0.0.0.0:6380 \
    NEARHIT_HTTP=0.0.0.0:3000 \
    NEARHIT_ENV=production
RUN useradd --system --no-create-home --uid 10001 nearhit
USER nearhit
EXPOSE 6380 3000
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["python", "-c", "import os, redis; redis.Redis(port=int(os.environ.get('PORT') or os.environ['NEARHIT_LISTEN'].rpartition(':')[2]), socket_timeout=2).ping()"]
ENTRYPOINT ["nearhit"]
CMD ["serve"]
