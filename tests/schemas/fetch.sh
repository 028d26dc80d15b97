#!/bin/sh
# Fetches the published lists of fields that the schema tests read, through the registries' own clients.
#
#   fetch.sh CACHE     CACHE/ecs/{fields.csv,ecs_flat.yml} and CACHE/ocsf.json; a second call does nothing
#
# Sources, both under the Apache License 2.0:
# - ECS 9.4.0: the Go module github.com/elastic/ecs, folder generated/ (its tag v9.4.0)
# - OCSF 1.8.0: the schema server's export (all extensions) as PyPI's ocsf-json-schema 1.2.0 carries it
#
# Exit 77: this machine lacks a client, or the registry cannot be reached; stderr says which.
set -eu

ecs=github.com/elastic/ecs@v9.4.0+incompatible
ocsf=ocsf-json-schema==1.2.0
cache=$1
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
exec 9>"$cache/.lock"
flock 9

lacks() {
    echo "$*" >&2
    exit 77
}

if [ ! -s "$cache/ecs/fields.csv" ]; then
    command -v go >/dev/null || lacks "go is not installed: it fetches the module $ecs"
    work=$(mktemp -d "$cache/ecs.XXXXXX")
    trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
    # A module cache of its own, which is gone afterwards: only three files are kept.
    (cd "$work" && GOPATH=$work/go GOFLAGS=-modcacherw GOTOOLCHAIN=local timeout 300 go mod download -json "$ecs") \
        >"$work/told" 2>"$work/log" || lacks "cannot fetch $ecs: $(tail -1 "$work/log") $(tail -3 "$work/told" | tr '\n' ' ')"
    from=$work/go/pkg/mod/$ecs/generated
    mkdir "$work/ecs"
    cp "$from/ecs/ecs_flat.yml" "$from/csv/fields.csv" "$work/ecs/"
    rm -rf "$cache/ecs"
    mv "$work/ecs" "$cache/ecs"
    chmod -R u+w "$work"
    rm -rf "$work"
    trap - EXIT
fi

if [ ! -s "$cache/ocsf.json" ]; then
    python3 -m pip --version >/dev/null 2>&1 || lacks "python3-pip is not installed: it fetches $ocsf"
    work=$(mktemp -d "$cache/ocsf.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    timeout 300 python3 -m pip download --quiet --no-deps --dest "$work" "$ocsf" >"$work/log" 2>&1 \
        || lacks "cannot fetch $ocsf: $(tail -1 "$work/log")"
    (cd "$work" && python3 -m zipfile -e ./*.whl .)
    mv "$work/ocsf_json_schema/ocsf/1.8.0.json" "$cache/ocsf.json"
fi
