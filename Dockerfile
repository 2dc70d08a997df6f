# The base of all stages: an interpreter's path is in the virtual environment. make image BASE=... takes another, by its digest too.
ARG BASE=python:3.13.14-slim-bookworm@sha256:67a1e1f215ccda113cfc024e8639049257e88f273898f595b61476d128d387e8
FROM ${BASE} AS base

FROM base AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# With the extras: --build-arg LOCK=extras.lock
ARG LOCK=requirements.lock
WORKDIR /source
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/healer
COPY deploy/build.lock deploy/requirements.lock deploy/extras.lock ./
RUN /opt/build/bin/pip install --require-hashes --only-binary :all: -r build.lock
RUN /opt/build/bin/pip --python /opt/healer/bin/python install --no-compile --require-hashes --only-binary :all: -r ${LOCK}
# 31 MB of the blocking client, written once more beside the asynchronous one that healer uses; nothing of the latter imports it.
RUN cd "$(/opt/healer/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/kubernetes/client" \
 && rm -r api models/[!_]*
COPY pyproject.toml README.md LICENSE ./
COPY deploy/healer/crd.yaml deploy/healer/crd-rulesets.yaml deploy/healer/
COPY docs/schemas docs/schemas
COPY rules rules
COPY healer healer
RUN /opt/build/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/build/bin/pip --python /opt/healer/bin/python install --no-compile --no-index --no-deps /wheels/healer-*.whl
# The root file system is read-only later: leave compiled what the daemon imports, and only that.
RUN /opt/healer/bin/python -c 'import healer.cli, healer.daemon'

# What runs needs an interpreter and libraries. The list of the distribution's packages stays, for those who scan images.
FROM base AS bare
RUN rm -rf /usr/local/lib/python3*/ensurepip /usr/local/lib/python3*/idlelib /usr/local/lib/python3*/test \
    /usr/local/lib/python3*/site-packages/pip* /usr/lib/python3*/ensurepip /usr/share/python-wheels /usr/include /usr/local/include \
    /etc/apt /etc/cron* /etc/init.d /usr/lib/apt /usr/lib/dpkg /var/lib/apt /var/cache /var/log/* /usr/share/bug /usr/share/doc /usr/share/man /usr/share/locale /usr/share/perl* \
    /usr/lib/*-linux-gnu/perl* /usr/lib/*-linux-gnu/gconv /root/.cache \
 && find /usr/bin /usr/sbin /usr/local/bin -mindepth 1 ! -name 'python3*' -delete

FROM scratch
ENV HOME=/ PATH=/opt/healer/bin:/usr/local/bin:/usr/bin PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=bare / /
COPY --from=build /opt/healer /opt/healer
COPY rules /etc/healer/rules
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["healer"]
CMD ["run", "--rules", "/etc/healer/rules"]
