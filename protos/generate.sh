#!/usr/bin/env bash
# Generates the Python modules beside the .proto files with the pinned tool chain.
#   protos/generate.sh           writes them
#   protos/generate.sh --check   fails when the committed ones differ
# The tool chain is an old one on purpose: generated code refuses to load on a grpcio or
# protobuf older than the one that wrote it, and boards are not upgraded every week.
set -euo pipefail
grpcio_tools=1.76.0
here=$(cd "$(dirname "$0")" && pwd)
venv=${HILNAS_PROTOC_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/hilnas/protoc-$grpcio_tools}
python=${PYTHON:-python3.11}
if ! "$venv/bin/python" -c 'import grpc_tools' 2>/dev/null; then
  "$python" -m venv "$venv"
  "$venv/bin/pip" install --quiet "grpcio-tools==$grpcio_tools" "setuptools<81"
fi
out=$here
if [[ ${1:-} == --check ]]; then
  out=$(mktemp -d)
  trap 'rm -rf "$out"' EXIT
fi
protoc() { (cd "$here" && "$venv/bin/python" -m grpc_tools.protoc --proto_path=. "$@"); }
mapfile -t protos < <(cd "$here" && ls hilnas_protos/v1/*.proto)
mapfile -t services < <(cd "$here" && grep -l '^service' hilnas_protos/v1/*.proto)
protoc --python_out="$out" --pyi_out="$out" "${protos[@]}"
protoc --grpc_python_out="$out" "${services[@]}"
if [[ ${1:-} == --check ]]; then
  for file in "$here"/hilnas_protos/v1/*_pb2*; do
    cmp "$file" "$out/hilnas_protos/v1/$(basename "$file")" || { echo "generated protos are stale: run protos/generate.sh" >&2; exit 1; }
  done
  [[ $(ls "$out/hilnas_protos/v1" | wc -l) == $(ls "$here"/hilnas_protos/v1/*_pb2* | wc -l) ]] || { echo "a generated module is missing: run protos/generate.sh" >&2; exit 1; }
fi
