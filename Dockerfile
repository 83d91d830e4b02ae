# A server of whole ONNX files on the CPU, without PyTorch:
#   nommer export runs/photos --whole --out whole
#   docker build -t nommer-serve .
#   docker run -p 8000:8000 -v "$PWD/whole:/models:ro" nommer-serve /models/model.onnx
FROM debian:trixie-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv
WORKDIR /build
COPY deploy/requirements.txt .
RUN python3 -m venv /venv && /venv/bin/pip install --no-cache-dir -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /venv/bin/pip install --no-cache-dir --no-deps . && rm -rf /venv/lib/python3*/site-packages/pip

FROM debian:trixie-slim
RUN apt-get update && apt-get install -y --no-install-recommends python3 \
    && apt-get clean && rm -rf /var/lib/apt/lists/*
COPY --from=build /venv /venv
RUN useradd --uid 10001 --create-home nommer
USER 10001
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["nommer", "serve", "--host", "0.0.0.0"]
