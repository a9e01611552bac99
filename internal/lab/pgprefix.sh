#!/bin/bash
# pgprefix.sh DEST MAJOR SUITE [VERSION] unpacks PostgreSQL of another Debian
# suite into DEST (absolute) without installing anything: `17 trixie`,
# `18 sid`. Newer libc than this system's comes along and is bound into each
# program, so nothing else on the machine changes. A VERSION that the archive
# no longer has silently gives the newest: read it from the binary.
set -euo pipefail
dest=$1 major=$2 suite=$3 version=${4:-}
st=$(mktemp -d)
trap 'rm -rf "$st"' EXIT
# Built aside and moved when complete: an interrupted run leaves nothing half done.
final=$dest
dest=$(mktemp -d "$(mkdir -p "$(dirname "$final")" && dirname "$final")/.part-XXXXXX")
trap 'rm -rf "$st" "$dest"' EXIT
chmod 755 "$dest"
mkdir -p "$st"/{lists/partial,cache/archives/partial,debs,pe}
# The machine's own mirror: main archive first, security last.
mapfile -t uri < <(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/debian.sources)
src() { echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $1 $2 main"; }
{
	src "${uri[0]}" "$suite"
	[ "$suite" = sid ] || src "${uri[-1]}" "$suite-security"
} >"$st/sources.list"
: >"$st/status"
: >"$st/preferences"
[ -z "$version" ] || printf 'Package: postgresql*-%s libpq5\nPin: version %s\nPin-Priority: 1001\n' "$major" "$version" >"$st/preferences"
cat >"$st/conf" <<C
Dir::State::Lists "$st/lists"; Dir::State::status "$st/status"; Dir::Cache "$st/cache";
Dir::Etc::SourceList "$st/sources.list"; Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "$st/preferences"; Dir::Etc::PreferencesParts "/dev/null";
APT::Sandbox::User "root"; APT::Install-Recommends "false"; Acquire::Languages "none";
C
cd "$st/pe"
apt-cache show patchelf >/dev/null 2>&1 || apt-get -qq update
apt-get -o APT::Sandbox::User=root -qq download patchelf # this system's own
dpkg -x patchelf_*.deb .
export APT_CONFIG=$st/conf
apt-get -qq update
cd "$st/debs"
# Against an empty status file the plan names every dependency.
apt-get install -y --print-uris "postgresql-$major" | sed -n "s/^'.*' \([^_]*\)_.*/\1/p" |
	grep -E "^(postgresql-(client-)?$major|lib.*|zlib1g)$" |
	grep -vE '^lib(llvm|z3|perl|gdbm|db5|semanage|proc2|bsd|md0|edit|ncurses|debconf|c-)|-common|-modules' |
	xargs apt-get -qq download
for deb in *.deb; do dpkg -x "$deb" "$dest"; done
bin=$dest/usr/lib/postgresql/$major/bin
rm -f "${bin%bin}lib/llvmjit.so" # no JIT: LLVM stays away
libs=$final/usr/lib/x86_64-linux-gnu
for f in "$bin"/*; do
	[ "$(head -c4 "$f" | tail -c3)" = ELF ] || continue
	# DT_RPATH, not RUNPATH: only it also reaches libraries that extensions load.
	"$st/pe/usr/bin/patchelf" --set-interpreter "$libs/ld-linux-x86-64.so.2" --force-rpath --set-rpath "$libs" "$f"
done
rm -rf "$final"
mv "$dest" "$final"
"$final/usr/lib/postgresql/$major/bin/postgres" --version
