# handfast alone: one static file in an empty image, to copy from or to run as an init container.
#
#   docker build -t handfast .
#   DOCKER_BUILDKIT=1 docker build --target sbom --output . .     # handfast.cdx.json: what it is made of (CycloneDX)
#
# The same sources give the same file and the same layer, wherever and whenever they are built, and with BuildKit 0.11 or later
# and `--build-arg SOURCE_DATE_EPOCH=0` the same image. TARGET is for the other architecture than this machine's.
#
# BUILD_IMAGE needs cargo, and what apt-get and cargo install below where it has that already.
ARG BUILD_IMAGE=docker.io/library/rust:1.95.0-bookworm

FROM ${BUILD_IMAGE} AS sources
WORKDIR /src
COPY . .
RUN build/skeleton /skeleton

# As long as no manifest changes, all up to the dependencies' build is taken from the builder's cache.
FROM ${BUILD_IMAGE} AS build
ARG TARGET
RUN if [ "${TARGET%%-*}" = aarch64 ] && [ "$(uname -m)" != aarch64 ]; then set -- gcc-aarch64-linux-gnu libc6-dev-arm64-cross; fi; \
    command -v musl-gcc >/dev/null && [ $# -eq 0 ] || { apt-get update && apt-get install -y --no-install-recommends musl-tools "$@"; }
WORKDIR /src
COPY --from=sources /skeleton .
RUN ! command -v rustup >/dev/null || rustup toolchain install --profile minimal --no-self-update
RUN build/tools && build/release "${TARGET:-$(uname -m)-unknown-linux-musl}"
COPY . .
# Newer than what was built of their empty forms.
RUN find src providers -name '*.rs' -exec touch {} + && \
    install -m 0755 "$(build/release "${TARGET:-$(uname -m)-unknown-linux-musl}")" /handfast && \
    auditable2cdx /handfast >/handfast.cdx.json && \
    touch --date @0 /handfast /handfast.cdx.json

FROM scratch AS sbom
COPY --from=build /handfast.cdx.json /

FROM scratch
ARG VERSION=0.1.0
ARG REVISION
LABEL org.opencontainers.image.title="handfast" \
    org.opencontainers.image.description="Hands secrets to a process and lets go: tmpfs or descriptors, never the environment" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.licenses="Apache-2.0 OR MIT"
COPY --from=build /handfast /handfast
ENTRYPOINT ["/handfast"]
