# Builds an image that contains only handfast, one static file. Copy the file from this image, or run the image as an init container.
#
#   docker build -t handfast .
#   DOCKER_BUILDKIT=1 docker build --target sbom --output . .     # handfast.cdx.json: the list of dependencies (CycloneDX)
#
# The build is reproducible: the same sources give the same file and the same layer on every machine and at any time; with BuildKit
# 0.11 or later and `--build-arg SOURCE_DATE_EPOCH=0` they give the same image. Set TARGET to build for another architecture.
#
# BUILD_IMAGE must contain cargo. If it also contains the packages and tools that are installed below, the build installs nothing.
ARG BUILD_IMAGE=docker.io/library/rust:1.95.0-bookworm

FROM ${BUILD_IMAGE} AS sources
WORKDIR /src
COPY . .
RUN build/skeleton /skeleton

# As long as no manifest changes, the builder takes every step up to the build of the dependencies from its cache.
FROM ${BUILD_IMAGE} AS build
ARG TARGET
RUN if [ "${TARGET%%-*}" = aarch64 ] && [ "$(uname -m)" != aarch64 ]; then set -- gcc-aarch64-linux-gnu libc6-dev-arm64-cross; fi; \
    command -v musl-gcc >/dev/null && [ $# -eq 0 ] || { apt-get update && apt-get install -y --no-install-recommends musl-tools "$@"; }
WORKDIR /src
COPY --from=sources /skeleton .
RUN ! command -v rustup >/dev/null || rustup toolchain install --profile minimal --no-self-update
RUN build/tools && build/release "${TARGET:-$(uname -m)-unknown-linux-musl}"
COPY . .
# Make the sources newer than the build of their empty replacements, so that cargo builds them again.
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
