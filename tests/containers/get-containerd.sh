#!/bin/bash
# Unpacks containerd of another Debian suite, from the archive that this machine's apt uses; nothing is installed.
# usage: get-containerd.sh SUITE DIR        programs: DIR/usr/bin
set -euo pipefail
suite=$1; out=$2
[ -x "$out/usr/bin/containerd" ] && exit 0
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../../../shared/vm/mirror.sh"
mkdir -p "$(dirname "$out")"
work=$(mktemp -d "$out.XXXXXX"); trap 'rm -rf "$work"' EXIT
get() { curl -sSfL --retry 3 --max-time 300 -o "$2" "$mirror/$1"; }
get "dists/$suite/main/binary-amd64/Packages.xz" "$work/packages.xz"
xz -dc "$work/packages.xz" | awk -v RS= '/^Package: containerd\n/' > "$work/entry"
field() { awk -v f="$1:" '$1 == f { print $2; exit }' "$work/entry"; }
file=$(field Filename); sum=$(field SHA256)
[ -n "$file" ] || { echo "$suite has no containerd" >&2; exit 1; }
get "$file" "$work/containerd.deb"
echo "$sum  $work/containerd.deb" | sha256sum --quiet -c -
mkdir "$work/root"
dpkg-deb -x "$work/containerd.deb" "$work/root"
# Whole or not at all.
mv -T "$work/root" "$out"
