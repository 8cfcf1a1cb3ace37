# All of it on a CPU:   docker build -t npu-classifiers . && docker run --rm npu-classifiers
FROM python:3.12-slim
RUN apt-get update && apt-get install -y --no-install-recommends make git && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY requirements.lock .
RUN pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements.lock
COPY . .
CMD ["make", "demo", "MODELS=ShiftViT", "PYTHON=python3"]
