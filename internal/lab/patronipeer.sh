#!/bin/bash
# patronipeer.sh [DEST] puts the real Patroni 4.1.5, which mixed clusters and
# comparisons are tested with, into DEST, by default
# ${PGHA_CACHE:-/var/cache/pgha}/patroni/4.1.5 (root) or
# ~/.cache/pgha/patroni/4.1.5, and prints DEST. Does nothing when it is there.
#
# Patroni and ydiff are pure Python: they are unpacked from Debian's sid, not
# installed. Only the Python modules they need, and only missing ones, are
# installed, from this machine's own release.
set -euo pipefail

version=4.1.5
cache=/var/cache/pgha
[ "$(id -u)" = 0 ] || cache=$HOME/.cache/pgha
dest=${1:-${PGHA_CACHE:-$cache}/patroni/$version}
# Another python3 may come first in PATH; Debian's modules are this one's.
python=/usr/bin/python3

works() {
	PYTHONPATH=$dest/usr/lib/python3/dist-packages "$python" "$dest/usr/bin/patroni" --version 2>/dev/null |
		grep -qx "patroni $version" &&
		PYTHONPATH=$dest/usr/lib/python3/dist-packages "$python" "$dest/usr/bin/patronictl" version >/dev/null 2>&1
}

if works; then
	echo "$dest"
	exit 0
fi

# module:package; a module that is there is not upgraded.
missing=()
for pair in etcd:etcd psycopg2:psycopg2 click:click prettytable:prettytable dateutil:dateutil psutil:psutil \
	urllib3:urllib3 yaml:yaml dns:dnspython cryptography:cryptography; do
	"$python" -c "import ${pair%%:*}" 2>/dev/null || missing+=("python3-${pair#*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		echo "patronipeer.sh: missing, and not installed because this is not root on Debian: ${missing[*]}" >&2
		exit 1
	fi
	export DEBIAN_FRONTEND=noninteractive
	apt-get -qq update
	apt-get install -y -qq --no-install-recommends --no-upgrade "${missing[@]}" </dev/null >&2
fi

st=$(mktemp -d)
trap 'rm -rf "$st"' EXIT
mkdir -p "$st"/{lists/partial,cache/archives/partial,debs,root}
uri=$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/debian.sources | head -1)
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri sid main" >"$st/sources.list"
sid() {
	apt-get -o Dir::State::Lists="$st/lists" -o Dir::Cache="$st/cache" -o Dir::Etc::SourceList="$st/sources.list" \
		-o Dir::Etc::SourceParts=/dev/null -o APT::Sandbox::User=root -qq "$@"
}
cd "$st/debs"
sid update
sid download patroni python3-ydiff >&2
for deb in ./*.deb; do dpkg -x "$deb" "$st/root"; done
# The lab's user cannot write bytecode there; without it every command line
# takes a second longer.
"$python" -m compileall -q "$st/root/usr/lib/python3/dist-packages" >&2
# In one rename: an interrupted run must not leave half of it behind.
mkdir -p "$(dirname "$dest")"
rm -rf "$dest"
chmod 0755 "$st/root"
mv "$st/root" "$dest"
if ! works; then
	echo "patronipeer.sh: what Debian's sid has now is not Patroni $version, or does not run:" >&2
	PYTHONPATH=$dest/usr/lib/python3/dist-packages "$python" "$dest/usr/bin/patroni" --version >&2 || true
	exit 1
fi
echo "$dest"
