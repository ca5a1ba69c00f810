# The five steps and what they need. Compose starts the web server, the worker and the one-shot preparation from it.
FROM python:3.13-slim-trixie AS base

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /app

# The database is in /data. A named volume takes over its owner.
RUN useradd --uid 1000 --create-home learner && install --directory --owner learner /data

# Before the code, so that an edited file doesn't install the packages again.
COPY requirements.txt .
RUN pip install --require-hashes --requirement requirements.txt

# The `tutorial` package is used in place.
ENV PYTHONPATH=/app


FROM base AS app

COPY tutorial tutorial
COPY step01_setup step01_setup
COPY step02_consumer step02_consumer
COPY step03_routing step03_routing
COPY step04_client step04_client
COPY step05_celery step05_celery
USER learner


# With JupyterLab, for `docker compose --profile notebooks up notebooks`.
FROM base AS notebooks

COPY requirements-dev.txt .
RUN pip install --require-hashes --requirement requirements-dev.txt
COPY --from=app /app /app
# Notebook 6 compares the servers of the load lab, and an exercise's consumer.
COPY benchmarks benchmarks
COPY exercises exercises
# A notebook saves its outputs in place.
COPY --chown=learner notebooks notebooks
RUN chown learner notebooks
USER learner
