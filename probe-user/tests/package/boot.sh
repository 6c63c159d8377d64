# Boots systemd on a root file system ($1) in a network namespace ($2), in namespaces of its own for all else and a control group ($3)
# that ends it.
set -e
mkdir "$3"
echo $$ >"$3/cgroup.procs"
exec ip netns exec "$2" unshare --pid --mount --uts --ipc --cgroup --fork --kill-child sh -ec '
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=1777 tmp tmp
mount -t tmpfs -o mode=755 dev dev
for node in null zero full random urandom tty; do
    : >dev/$node
    mount --bind /dev/$node dev/$node
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs shm dev/shm
pivot_root . mnt
umount -l mnt
exec env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --show-status=0 </dev/null
' sh "$1"
