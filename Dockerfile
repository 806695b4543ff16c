# Dependencies alone: a change of the code leaves these layers, here and in the final image.
FROM python:3.12-slim AS dependencies
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN python -m venv /opt/wan-gateway \
 && mkdir gateway && touch gateway/__init__.py \
 && /opt/wan-gateway/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt '.[cluster,heic,otel,s3,top]' \
 && /opt/wan-gateway/bin/pip uninstall --yes --quiet wan-gateway

# The gateway itself, into a folder of its own that has the same layout.
FROM dependencies AS build
COPY gateway gateway
RUN /opt/wan-gateway/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --prefix /opt/code .

# Run: both folders in one, a config, an unprivileged user; keys come by environment or mounted file.
FROM python:3.12-slim
LABEL org.opencontainers.image.title="wan-gateway" \
      org.opencontainers.image.description="An OpenAI-compatible gateway for image edits that pays DashScope exactly once for each" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --system --gid 10001 gateway \
 && useradd --system --uid 10001 --gid 10001 --create-home --home-dir /var/lib/wan-gateway gateway
COPY --from=dependencies /opt/wan-gateway /opt/wan-gateway
COPY --from=build /opt/code /opt/wan-gateway
COPY config/container.toml /etc/wan-gateway/gateway.toml
ENV PATH=/opt/wan-gateway/bin:$PATH PYTHONUNBUFFERED=1
# By number: Kubernetes' runAsNonRoot does not look names up.
USER 10001:10001
WORKDIR /var/lib/wan-gateway
VOLUME /var/lib/wan-gateway
EXPOSE 8080
# Follows the config and the --port of the process that the container runs.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["wan-gateway", "health", "--pid", "1"]
# Edits may run on for drain_seconds: give `docker stop --time` and Kubernetes' grace as much.
STOPSIGNAL SIGTERM
ENTRYPOINT ["wan-gateway"]
CMD ["serve", "--config", "/etc/wan-gateway/gateway.toml"]
