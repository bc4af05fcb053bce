# The installer's image. Build arguments:
#   BASE_IMAGE           a Debian with Python 3.11 or later, its pip, bash and chroot
#   NVIDIA_PACKAGES_URL  base URL of NVIDIA's libnvidia-container package repository or a mirror of it
#   TOOLKIT_VERSION      version of the packages that are taken from there
#   VENDOR               a directory of the context with files that are not to be downloaded
#   VERSION, REVISION    for the labels
#   SOURCE_DATE_EPOCH    the time of every file, so that the same content is the same layer
ARG BASE_IMAGE=python:3.13-slim

# What is installed on the hosts.
FROM ${BASE_IMAGE} AS payload
SHELL ["/bin/sh", "-eu", "-c"]
WORKDIR /build
ARG VENDOR=deploy/image/vendor
ARG NVIDIA_PACKAGES_URL=
ARG TOOLKIT_VERSION=1.20.0-1
ARG NVIDIA_KEY_FINGERPRINT=C95B321B61E88C1809C4F759DDCAE044F796ECB0
ARG TARGETARCH=
COPY ${VENDOR} vendor
COPY deploy/image/fetch_packages.py ./
ARG SOURCE_DATE_EPOCH=0
RUN mkdir -p tree/artifacts; \
    if [ -d vendor/deb ] || [ -d vendor/rpm ]; then \
        for kind in deb rpm; do \
            if [ -d "vendor/$kind" ]; then cp -a "vendor/$kind" tree/artifacts/; fi; \
        done; \
    elif [ -z "$NVIDIA_PACKAGES_URL" ]; then \
        echo 'say where the packages come from: --build-arg NVIDIA_PACKAGES_URL=URL, or VENDOR=DIRECTORY (deploy/image/vendor/README.md)' >&2; \
        exit 1; \
    else \
        apt-get update; \
        apt-get install -y --no-install-recommends ca-certificates cpio gpgv rpm2cpio; \
        rm -rf /var/lib/apt/lists/*; \
        python3 fetch_packages.py --mirror="$NVIDIA_PACKAGES_URL" --version="$TOOLKIT_VERSION" \
            --fingerprint="$NVIDIA_KEY_FINGERPRINT" --architecture="$TARGETARCH" tree/artifacts; \
    fi; \
    find tree -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

# The program and the Python packages that it needs, compiled, in a directory of their own.
FROM ${BASE_IMAGE} AS program
SHELL ["/bin/sh", "-eu", "-c"]
WORKDIR /build
ARG VENDOR=deploy/image/vendor
COPY ${VENDOR} vendor
COPY requirements.lock ./
RUN python3 -m venv --without-pip /opt/nvidia-toolkit; \
    if [ -d vendor/wheels ]; then set -- --no-index --find-links=vendor/wheels; fi; \
    python3 -m pip --python /opt/nvidia-toolkit/bin/python install --no-cache-dir --no-compile \
        --no-deps --only-binary=:all: --require-hashes --requirement=requirements.lock "$@"
COPY toolkit program/toolkit
COPY runtime_configs program/runtime_configs
COPY share tree/usr/local/share
COPY LICENSE tree/licenses/LICENSE
COPY entrypoint.sh tree/opt/nvidia-toolkit/
COPY --from=payload /build/tree/artifacts artifacts
COPY deploy/image/console-script deploy/image/install-program deploy/image/sbom.py ./
ARG SOURCE_DATE_EPOCH=0
# An operator starts its script by `sh -c SCRIPT`. bash becomes the script, but Debian's dash stays in
# front of it: dash alone would get SIGTERM, and its end kills the daemon before it has put anything back.
RUN ./install-program program /opt/nvidia-toolkit artifacts; \
    cp -a /opt/nvidia-toolkit tree/opt/; \
    mkdir -p tree/usr/bin; \
    ln -s bash tree/usr/bin/sh; \
    chmod -R u=rwX,go=rX tree; \
    find tree -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

FROM ${BASE_IMAGE}
# The host's NVIDIA runtime, once it is the default, must not give this container a GPU.
ENV NVIDIA_VISIBLE_DEVICES=void
ENV PATH=/opt/nvidia-toolkit/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
COPY --from=payload /build/tree/ /
COPY --from=program /build/tree/ /
ARG BASE_IMAGE
ARG TOOLKIT_VERSION=1.20.0-1
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="NVIDIA container toolkit installer" \
      org.opencontainers.image.description="Installs the NVIDIA container toolkit on a node, sets its container engine up, and restores both when it stops" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}" \
      com.nvidia.container-toolkit.version="${TOOLKIT_VERSION}"
ENTRYPOINT ["/opt/nvidia-toolkit/entrypoint.sh"]
