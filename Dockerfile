# podgate's image: one binary on Debian, run by a user without privileges.
#
#   docker build -t podgate .            (podman: add --format docker for the health check)
#   docker run --name podgate -p 8080:8080 -v podgate:/var/lib/podgate podgate
#   docker exec podgate podgate user add john
#
# Its config is conf/podgate.container.toml; mount your own over /etc/podgate.

FROM docker.io/library/rust:1.95.0-slim-bookworm AS build
WORKDIR /src
COPY . .
# The caches keep what was compiled for the next build, and stay out of the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --profile dist --package podgate \
    && install -D --mode=0755 target/dist/podgate /out/usr/bin/podgate \
    && install -D --mode=0644 conf/podgate.container.toml /out/etc/podgate/podgate.toml \
    && install -D --mode=0644 LICENSE /out/usr/share/doc/podgate/copyright \
    && install -d --mode=0700 /out/var/lib/podgate

FROM docker.io/library/debian:bookworm-slim
# Root certificates, to reach issuers and databases over TLS.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 /out/var/lib /var/lib
COPY --from=build /out/usr /usr
COPY --from=build /out/etc /etc
USER 65532:65532
WORKDIR /var/lib/podgate
VOLUME /var/lib/podgate
# HTTP, HTTPS, admin (metrics and health); the API is on a socket in the volume.
ENV PODGATE_URL=unix:/var/lib/podgate/api.sock
EXPOSE 8080 8443 9090
# The admin listener's word on itself; bash speaks TCP, and nothing need be installed.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9090 && printf 'GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [[ $status == 200 ]]"]
ENTRYPOINT ["podgate"]
CMD ["run", "-c", "/etc/podgate/podgate.toml"]
