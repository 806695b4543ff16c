# Build: the wheel and all that it needs, into one folder.
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY gateway gateway
RUN python -m venv /opt/wan-gateway \
 && /opt/wan-gateway/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt '.[otel,s3,top]'

# Run: that folder, a config, an unprivileged user; keys come by environment or mounted file.
FROM python:3.12-slim
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/wan-gateway gateway
COPY --from=build /opt/wan-gateway /opt/wan-gateway
COPY config/container.toml /etc/wan-gateway/gateway.toml
ENV PATH=/opt/wan-gateway/bin:$PATH PYTHONUNBUFFERED=1
USER gateway
WORKDIR /var/lib/wan-gateway
VOLUME /var/lib/wan-gateway
EXPOSE 8080
# Not by urllib, which would ask a proxy of the environment.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
  CMD ["python", "-c", "import http.client as http; it = http.HTTPConnection('127.0.0.1', 8080, timeout=2); it.request('GET', '/healthz'); raise SystemExit(it.getresponse().status != 200)"]
# Edits may run on for drain_seconds: give `docker stop --time` and Kubernetes' grace as much.
STOPSIGNAL SIGTERM
ENTRYPOINT ["wan-gateway"]
CMD ["serve", "--config", "/etc/wan-gateway/gateway.toml"]
