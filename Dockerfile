FROM python:3.13-slim-bookworm AS base

FROM base AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
COPY deploy/build.lock deploy/requirements.lock ./
RUN pip install --require-hashes --only-binary :all: -r build.lock
RUN python -m venv --without-pip /opt/healer \
 && pip --python /opt/healer/bin/python install --no-compile --require-hashes --only-binary :all: -r requirements.lock
# 31 MB of the blocking client, written once more beside the asynchronous one that healer uses; nothing of the latter imports it.
RUN cd "$(/opt/healer/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/kubernetes/client" \
 && rm -r api models/[!_]*
COPY pyproject.toml README.md LICENSE ./
COPY healer healer
RUN pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /wheels . \
 && pip --python /opt/healer/bin/python install --no-compile --no-index --no-deps /wheels/healer-*.whl
# The root file system is read-only later: leave compiled what the daemon imports, and only that.
RUN /opt/healer/bin/python -c 'import healer.cli, healer.daemon'

FROM base
ENV PATH=/opt/healer/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=build /opt/healer /opt/healer
COPY rules/*.yaml /etc/healer/rules/
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["healer"]
CMD ["run", "--rules", "/etc/healer/rules"]
