# docker build -t voice --build-arg EXTRAS="--extra postgres --extra mcp" .
# docker run --init --env-file .env -p 8000:8000 -v voice:/data voice     (SQLite: DATABASE_URL=sqlite:////data/voice.db)

ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
RUN pip install --no-cache-dir "uv>=0.13,<1"
ENV UV_PYTHON=/usr/local/bin/python3 UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=/opt/voice \
    UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1
WORKDIR /src
ARG EXTRAS=""
# The dependencies first: they stay in the build cache while only the code changes.
COPY pyproject.toml ./
# hadolint ignore=SC2086
RUN uv sync --no-dev --no-install-project ${EXTRAS}
COPY README.md LICENSE ./
COPY agent agent
COPY api api
COPY tools tools
# hadolint ignore=SC2086
RUN uv sync --no-dev --no-editable ${EXTRAS}

FROM python:${PYTHON}-slim
RUN useradd --system --uid 10001 --no-create-home --home-dir /data voice \
    && install --directory --owner=voice /data
COPY --from=build /opt/voice /opt/voice
WORKDIR /app
COPY tools tools
# What a tool file imports from beside it is found in /app, so that another folder can be mounted over /app/tools.
ENV PATH=/opt/voice/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 DATABASE_URL=sqlite:////data/voice.db
USER 10001
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import http.client; c = http.client.HTTPConnection('127.0.0.1', 8000, timeout=4); c.request('GET', '/readyz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["voice"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
