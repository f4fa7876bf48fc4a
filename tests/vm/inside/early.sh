#!/bin/busybox sh
# First program of the guest: loads the drivers, finds the root disk by its serial and hands over to init.py there.
/bin/busybox mkdir -p /proc /sys /dev /root
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
for module in $(/bin/busybox cat /modules/order); do
    /bin/busybox insmod "/modules/$module" || echo "early: cannot load $module"
done

disk_with_serial() {
    tries=0
    while [ "$tries" -lt 200 ]; do
        for file in /sys/block/*/serial; do
            [ -e "$file" ] || continue
            if [ "$(/bin/busybox cat "$file")" = "$1" ]; then
                name=${file%/serial}
                echo "/dev/${name##*/}"
                return
            fi
        done
        tries=$((tries + 1))
        /bin/busybox usleep 50000
    done
    echo "early: no disk with serial $1" >&2
}

/bin/busybox mount -t ext4 -o ro "$(disk_with_serial guest-root)" /root
/bin/busybox mount -t ext4 -o ro "$(disk_with_serial guest-code)" /root/opt/code
for tree in dev proc sys; do
    /bin/busybox mount --move "/$tree" "/root/$tree"
done
exec /bin/busybox switch_root /root /usr/bin/python3 -u /opt/code/inside/init.py
