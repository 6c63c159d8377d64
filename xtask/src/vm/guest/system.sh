#!/bin/busybox sh
# The first process of a virtual machine of `cargo xtask vm package`: loads the card's modules, unpacks Debian into memory and leaves the
# rest to its systemd, which runs package.sh (package.service). A machine that fails says so on the second serial port.
/bin/busybox mkdir -p /proc /sys /dev /system
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
exec </dev/null
stty -F /dev/ttyS1 -opost

say() { echo "$*" >/dev/ttyS1; }
end() {
    say "$@"
    poweroff -f
}
say "kernel $(uname -r)"
while read -r module; do insmod "/modules/$module" || end "failed insmod $module: see the console"; done </modules/order
[ -e /sys/class/net/eth1 ] || end "failed no eth0 and eth1: the driver found no cards, see the console"
say "driver $(basename "$(readlink /sys/class/net/eth0/device/driver)")"

# Not the initramfs itself: what services see as their root is moved there (pivot_root), which it can't be.
mount -t tmpfs -o mode=755,size=80% system /system
tar -xf /system.tar -C /system || end "failed tar: see the console"
rm /system.tar
cp /bin/busybox /package/* /system/opt
wanted=/system/etc/systemd/system/multi-user.target.wants
mkdir -p $wanted
mv /system/opt/package.service /system/etc/systemd/system
ln -s ../package.service $wanted
umount /dev /sys /proc
exec switch_root /system /lib/systemd/systemd
