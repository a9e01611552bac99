#!/bin/bash
# etcdbuild.sh VERSION [DEST] puts etcd, etcdctl (and etcdutl from 3.5 on) of
# one version into DEST, by default ${PGHA_CACHE:-~/.cache/pgha}/etcd/VERSION,
# and prints DEST. Does nothing when they are there already.
#
# 3.5 and later are built from the Go module proxy, one module directory per
# version: all minors share one module path and coexist only as binaries.
# 3.4 does not build that way; it is unpacked (not installed) from Debian.
set -euo pipefail

version=${1:?usage: etcdbuild.sh VERSION [DEST]}
dest=${2:-${PGHA_CACHE:-$HOME/.cache/pgha}/etcd/$version}

if [ -x "$dest/etcd" ] && [ -x "$dest/etcdctl" ]; then
	echo "$dest"
	exit 0
fi
mkdir -p "$dest"
dest=$(cd "$dest" && pwd)
src=$(mktemp -d)
trap 'rm -rf "$src"' EXIT
cd "$src"

case $version in
3.4.*)
	# apt needs package lists; a fresh machine may have none.
	apt-cache show etcd-server >/dev/null 2>&1 || apt-get -qq update
	apt-get -o APT::Sandbox::User=root -qq download etcd-server etcd-client >&2
	for deb in ./*.deb; do dpkg -x "$deb" .; done
	have=$(usr/bin/etcd --version | sed -n 's/^etcd Version: //p')
	if [ "$have" != "$version" ]; then
		echo "etcdbuild.sh: Debian has etcd $have, not $version" >&2
		exit 1
	fi
	cp usr/bin/etcd usr/bin/etcdctl "$dest/"
	;;
*)
	mkdir etcd etcdctl
	printf 'module etcdbin\n\ngo 1.26\n' >go.mod
	printf 'package main\nimport ("os"; "go.etcd.io/etcd/server/v3/etcdmain")\nfunc main() { etcdmain.Main(os.Args) }\n' >etcd/main.go
	printf 'package main\nimport "go.etcd.io/etcd/etcdctl/v3/ctlv3"\nfunc main() { ctlv3.MustStart() }\n' >etcdctl/main.go
	go get "go.etcd.io/etcd/"{server,etcdctl,etcdutl}"/v3@v$version" >&2
	# -o into the temporary directory first: an interrupted build must not
	# leave half a version behind.
	mkdir out
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o out/ ./etcd ./etcdctl go.etcd.io/etcd/etcdutl/v3
	cp out/* "$dest/"
	;;
esac
echo "$dest"
