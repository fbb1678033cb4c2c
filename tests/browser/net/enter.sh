#!/usr/bin/env bash
# Runs a command in a network, a process tree and a mount table of its own, where network namespaces can be made: nothing
# of it is seen outside, and all of it goes when the command ends, however it ends. Root or not.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

fail() {
    printf 'net: %s\n' "$@" >&2
    exit 1
}

for tool in ip nft conntrack unshare; do
    command -v "$tool" >/dev/null || fail "$tool is missing; make install-test installs it (iproute2, nftables, conntrack, util-linux)"
done
[ -r /dev/net/tun ] && [ -w /dev/net/tun ] || fail "/dev/net/tun cannot be opened: the wire between the namespaces is a TUN device." \
    "Run as root, or: modprobe tun; mknod /dev/net/tun c 10 200; chmod 666 /dev/net/tun. In a container: --device /dev/net/tun"

own=(--net --mount --pid --fork --kill-child --mount-proc)
[ "$(id -u)" = 0 ] || own+=(--map-root-user)
# `ip netns` keeps its names below /run.
inside='mount -t tmpfs none /run && ip link set lo up && exec "$@"'
unshare "${own[@]}" sh -c "$inside" - ip netns add probe ||
    fail "network namespaces cannot be made here. Run as root (in a container: --cap-add SYS_ADMIN --cap-add NET_ADMIN)," \
        "or allow user namespaces: sysctl kernel.unprivileged_userns_clone=1"
exec unshare "${own[@]}" sh -c "$inside" - "$@"
