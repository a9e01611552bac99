#!/bin/bash
# patronipeer.sh [DEST] puts a real Patroni, which mixed clusters and
# comparisons are tested with, into DEST, by default
# ${PGHA_CACHE:-/var/cache/pgha}/patroni/VERSION (root) or
# ~/.cache/pgha/patroni/VERSION, and prints where it is. 4.1.5 is the one pgha
# speaks for and is preferred; where neither the cache nor Debian has it, any
# 4.x that runs here does, and a note on standard error says which one.
# Does nothing when one is there. PATRONI_SUITES: where to look, in this order.
#
# Patroni and ydiff are pure Python: they are unpacked from Debian's packages,
# not installed. Only the Python modules they need, and only missing ones, are
# installed, from this machine's own release.
set -euo pipefail

wanted=4.1.5
cache=/var/cache/pgha
[ "$(id -u)" = 0 ] || cache=$HOME/.cache/pgha
cache=${PGHA_CACHE:-$cache}/patroni
# Another python3 may come first in PATH; Debian's modules are this one's.
python=/usr/bin/python3

# version_in DIR prints which Patroni 4.x there is; fails if none that runs.
version_in() {
	local v
	[ -e "$1/usr/bin/patroni" ] || return 1
	v=$(PYTHONPATH=$1/usr/lib/python3/dist-packages "$python" "$1/usr/bin/patroni" --version 2>/dev/null) || return 1
	[[ $v =~ ^patroni\ (4(\.[0-9]+)+)$ ]] || return 1
	PYTHONPATH=$1/usr/lib/python3/dist-packages "$python" "$1/usr/bin/patronictl" version >/dev/null 2>&1 || return 1
	echo "${BASH_REMATCH[1]}"
}

# found DIR VERSION says what was found and ends the script.
found() {
	[ "$2" = "$wanted" ] ||
		echo "patronipeer.sh: NOTE: compared is Patroni $2, not $wanted, which pgha speaks for" >&2
	echo "$1"
	exit 0
}

# module:package; a module that is there is not upgraded. idna is what urllib3
# needs for certificates with names.
missing=()
for pair in etcd:etcd psycopg2:psycopg2 click:click prettytable:prettytable dateutil:dateutil psutil:psutil \
	urllib3:urllib3 yaml:yaml dns:dnspython cryptography:cryptography idna:idna; do
	"$python" -c "import ${pair%%:*}" 2>/dev/null || missing+=("python3-${pair#*:}")
done
if [ ${#missing[@]} -gt 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	export DEBIAN_FRONTEND=noninteractive
	apt-get -qq update </dev/null >&2
	apt-get install -y -qq --no-install-recommends --no-upgrade "${missing[@]}" </dev/null >&2
	missing=()
fi

# What is there already: the wanted one, else the newest.
if [ $# -gt 0 ]; then
	if v=$(version_in "$1"); then found "$1" "$v"; fi
else
	for v in "$wanted" $(ls "$cache" 2>/dev/null | grep -x '4[0-9.]*' | sort -rV); do
		if [ "$(version_in "$cache/$v")" = "$v" ]; then found "$cache/$v" "$v"; fi
	done
fi

if [ ${#missing[@]} -gt 0 ]; then
	echo "patronipeer.sh: missing, and not installed because this is not root on Debian: ${missing[*]}" >&2
	exit 1
fi

st=$(mktemp -d)
trap 'rm -rf "$st"' EXIT
uri=$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/debian.sources | head -1)

# fetch SUITE unpacks its Patroni into $st/SUITE/root.
fetch() {
	local d=$st/$1
	mkdir -p "$d"/{lists/partial,cache/archives/partial,debs,root}
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $1 main" >"$d/sources.list"
	local apt=(apt-get -o Dir::State::Lists="$d/lists" -o Dir::Cache="$d/cache" -o Dir::Etc::SourceList="$d/sources.list"
		-o Dir::Etc::SourceParts=/dev/null -o APT::Sandbox::User=root -qq)
	"${apt[@]}" update </dev/null >&2 || return 1
	# One after the other: a suite may have no ydiff of its own.
	(cd "$d/debs" && "${apt[@]}" download patroni </dev/null >&2) || return 1
	(cd "$d/debs" && "${apt[@]}" download python3-ydiff </dev/null >&2) || true
	local deb
	for deb in "$d"/debs/*.deb; do dpkg -x "$deb" "$d/root" || return 1; done
}

# The wanted version from the first suite that has it, else the first that runs.
best='' best_version=''
for suite in ${PATRONI_SUITES:-sid testing trixie}; do
	fetch "$suite" || continue
	v=$(version_in "$st/$suite/root") || {
		echo "patronipeer.sh: what Debian's $suite has is no Patroni 4, or does not run here" >&2
		continue
	}
	if [ "$v" = "$wanted" ]; then
		best=$st/$suite/root best_version=$v
		break
	fi
	[ -n "$best" ] || best=$st/$suite/root best_version=$v
done
if [ -z "$best" ]; then
	echo "patronipeer.sh: no Patroni 4 that runs here in Debian's ${PATRONI_SUITES:-sid, testing, trixie}" >&2
	exit 1
fi

# The lab's user cannot write bytecode there; without it every command line
# takes a second longer.
"$python" -m compileall -q "$best/usr/lib/python3/dist-packages" >&2
# In one rename on one file system: an interrupted run must not leave half of
# it behind.
dest=${1:-$cache/$best_version}
mkdir -p "$(dirname "$dest")"
chmod 0755 "$best"
rm -rf "$dest" "$dest.new"
cp -a "$best" "$dest.new"
mv "$dest.new" "$dest"
found "$dest" "$best_version"
