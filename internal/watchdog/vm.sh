#!/bin/sh
# `make watchdog`: internal/watchdog on real drivers of the kernel, in a virtual
# machine of its own. Needs qemu-system-x86_64, cpio, dpkg-deb, gzip and a Debian
# kernel: KERNEL_DEB=file.deb, else the present one is downloaded with apt-get.
set -eu

for program in qemu-system-x86_64 cpio dpkg-deb go; do
	command -v "$program" >/dev/null || {
		echo "watchdog: $program is missing: apt-get install qemu-system-x86 cpio dpkg golang" >&2
		exit 1
	}
done
here=$(cd "$(dirname "$0")" && pwd)
box=$(mktemp -d)
trap 'rm -rf "$box"' EXIT
cd "$box"

deb=${KERNEL_DEB:-}
if [ -z "$deb" ]; then
	name=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-[^ ]*\)$/\1/p' | head -1)
	[ -n "$name" ] || { echo "watchdog: apt knows no linux-image-amd64: set KERNEL_DEB=/path/to/linux-image-*.deb" >&2; exit 1; }
	apt-get download "$name" >/dev/null
	deb=$(ls linux-image-*.deb)
fi
dpkg-deb --fsys-tarfile "$deb" | tar -xf - --wildcards './boot/vmlinuz*' '*/watchdog.ko*' '*/softdog.ko*' '*/i6300esb.ko*' 2>/dev/null || true

mkdir root
for module in watchdog softdog i6300esb; do
	file=$(find . -name "$module.ko*" | head -1)
	[ -n "$file" ] || continue # the core may be built in
	case $file in
	*.xz) xz -dc "$file" >"root/$module.ko" ;;
	*.zst) zstd -dcq "$file" >"root/$module.ko" ;;
	*) cp "$file" "root/$module.ko" ;;
	esac
done
(
	cd "$here"
	CGO_ENABLED=0 go build -o "$box/root/init" ./vminit
	CGO_ENABLED=0 go test -c -o "$box/root/watchdog.test" .
)
(cd root && find . | cpio -o -H newc --quiet | gzip -1) >initrd.gz

# No KVM: it is not everywhere, and half a minute more does not matter.
timeout "${LIMIT:-300}" qemu-system-x86_64 -machine pc -accel tcg -m 512 -nographic -no-user-config -net none \
	-kernel "$(ls boot/vmlinuz*)" -initrd initrd.gz -append 'console=ttyS0 panic=-1 quiet' \
	-device i6300esb -action watchdog=reset </dev/null 2>&1 | tr -d '\r' | tee console || true

for line in 'vminit: the tests on softdog passed' 'vminit: the machine was reset by the watchdog'; do
	grep -q "$line" console || { echo "watchdog: missing in the machine's output: $line" >&2; exit 1; }
done
echo 'watchdog: the kernel'"'"'s drivers behave as internal/watchdog expects, and a device that nobody feeds resets the machine'
