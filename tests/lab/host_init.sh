# Process 1 of a host: makes its private folders, network and sshd, then reaps orphans for ever.
#
# Told by environment: LAB_NAME, LAB_ADDRESS (with prefix length), LAB_WORK (files of the lab),
# LAB_DIR (files of this host), LAB_HOME (root's home), LAB_SSHD. It writes "up PID" when the
# cable may be plugged in, waits for a line, and writes "ready" when sshd listens.
set -eu

# /proc is still the machine's: this is the number by which the machine knows this process.
read -r pid _ < /proc/self/stat
mount -t proc proc /proc
mount -t sysfs sysfs /sys
echo "$LAB_NAME" > /proc/sys/kernel/hostname

# Folders shared between the hosts are held aside while what contains them becomes private.
mount -t tmpfs -o mode=755 tmpfs /mnt
cp "$LAB_DIR/kept" /mnt/kept
i=0
while read -r folder; do
    i=$((i + 1))
    mkdir "/mnt/$i"
    mount --rbind "$folder" "/mnt/$i"
done < /mnt/kept
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=1777 tmpfs /var/tmp
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=700 tmpfs "$LAB_HOME"
i=0
while read -r folder; do
    i=$((i + 1))
    mkdir -p "$folder"
    mount --move "/mnt/$i" "$folder"
done < /mnt/kept
umount /mnt

mkdir -p /run/sshd /run/lock
cp -pr "$LAB_WORK/ssh" "$LAB_HOME/.ssh"
cp "$LAB_WORK/hosts" /run/hosts
mount --bind /run/hosts /etc/hosts
if grep -q '^root:!' /etc/shadow; then # sshd lets nobody into a locked account, key or not
    (umask 077 && sed 's/^root:[^:]*/root:*/' /etc/shadow > /run/shadow)
    mount --bind /run/shadow /etc/shadow
fi

echo "up $pid"
read -r _
# The address before sshd: a first packet to an address not yet there costs its sender a second.
ip -batch - <<EOF
link set lo up
addr add $LAB_ADDRESS dev eth0
link set eth0 up
EOF
"$LAB_SSHD" -f "$LAB_DIR/sshd_config" -E "$LAB_DIR/sshd.log" < /dev/null > /dev/null
tries=0
until [ -e /run/sshd.pid ]; do # sshd goes to the background before it listens
    tries=$((tries + 1))
    [ $tries -lt 1000 ]
    sleep 0.01
done
echo ready
exec < /dev/null > /dev/null 2>&1
while :; do
    sleep 1000000 &
    wait
done
