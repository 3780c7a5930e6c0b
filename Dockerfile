# syntax=docker/dockerfile:1
# handfast alone: one static file in an empty image, to copy from or to run as an init container.
#
#   docker build -t handfast .
#
# BUILD_IMAGE needs cargo and apt-get; BASE_IMAGE needs nothing.
ARG BUILD_IMAGE=docker.io/library/rust:1.95.0-bookworm
ARG BASE_IMAGE=scratch

FROM ${BUILD_IMAGE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends musl-tools && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY rust-toolchain.toml ./
RUN rustup toolchain install --profile minimal --no-self-update
COPY . .
RUN target="$(uname -m)-unknown-linux-musl" && \
    cargo build --locked --config .cargo/static.toml --release --bin handfast --target "$target" && \
    install -m 0755 "target/$target/release/handfast" /handfast

FROM ${BASE_IMAGE}
COPY --from=build /handfast /handfast
ENTRYPOINT ["/handfast"]
