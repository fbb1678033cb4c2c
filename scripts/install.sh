#!/usr/bin/env bash
# Installs what `make demo` or `make test` needs and this machine lacks; does nothing, and says nothing, where all is there.
# Expects git, a Rust toolchain and Node. Uses apt-get, as root or by sudo; where it can do neither, it says how to do without.
set -euo pipefail
cd "$(dirname "$0")/.."

purpose=${1:-}
case $purpose in
    demo | test) ;;
    *) echo "usage: scripts/install.sh demo|test" >&2; exit 2 ;;
esac

say() { printf 'install: %s\n' "$*"; }
has() { command -v "$1" >/dev/null 2>&1; }

packages=() # Debian packages that are missing

# need WHAT PACKAGE WHY BY_HAND: WHAT is missing.
need() {
    say "$1 is missing ($3): package $2"
    say "    without root: $4"
    packages+=("$2")
}

# Not installed by this script: a toolchain is its owner's choice.
if ! has cargo; then
    say "cargo is missing: install a Rust toolchain, see https://rustup.rs (no root needed)" >&2
    exit 1
fi

has cc || need "a C compiler" gcc "builds SQLite, libopus and ring" "ask for one; without it no Rust program links either"
[ -e /usr/include/stdio.h ] || has clang || need "the C library's headers" libc6-dev "the same" "as for the C compiler"
has make || need make make "runs the Makefile and libopus' build" "a static build in ~/.local/bin, or run the lines of the Makefile yourself"
has cmake || need cmake cmake "configures libopus, which carries the sound" \
    "python3 -m venv ~/.local/cmake && ~/.local/cmake/bin/pip install cmake && mkdir -p ~/.local/bin && ln -s ~/.local/cmake/bin/cmake ~/.local/bin/"

if [ "$purpose" = test ]; then
    if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
        say "rustfmt or clippy is missing (checks of make test): rustup component add rustfmt clippy"
        rustup component add rustfmt clippy
    fi
    if ! has node || ! has npm; then
        say "node or npm is missing: install Node 20.10 or later, see https://nodejs.org (a tarball in ~/.local needs no root)" >&2
        exit 1
    fi
    [ -n "${CHROMIUM:-}" ] || has chromium || need Chromium chromium "the pages are tested in it" \
        "any Chromium or Chrome unpacked in your home; then CHROMIUM=/path/to/chrome make test"
    [ -n "${FIREFOX:-}" ] || has firefox-esr || need "Firefox ESR" firefox-esr "the pages are tested in it" \
        "Mozilla's tarball unpacked in your home; then FIREFOX=/path/to/firefox make test"
    has pulseaudio || need pulseaudio pulseaudio "without a sound device Firefox' AudioContext never starts" \
        "apt-get download pulseaudio (and what it depends on), dpkg -x each into ~/.local, and put it on PATH"
    # Not on everybody's path, but where Debian puts them.
    has ip || [ -x /usr/sbin/ip ] || need ip iproute2 "network namespaces for calls over bad networks" "as for the C compiler: ask for it"
    has nft || [ -x /usr/sbin/nft ] || need nft nftables "a NAT in those" "apt-get download nftables (and what it depends on), dpkg -x each into ~/.local, and put it on PATH"
    has conntrack || [ -x /usr/sbin/conntrack ] || need conntrack conntrack "makes the NAT forget" "as for nft"
    has unshare || need unshare util-linux "the same as ip" "as for ip"
    if has fc-list; then
        [ -n "$(fc-list 'DejaVu Sans')" ] || need "a Latin font" fonts-dejavu-core "screenshots" "put the .ttf files in ~/.local/share/fonts"
        [ -n "$(fc-list :lang=zh)" ] || need "a Chinese font" fonts-noto-cjk "screenshots of the Chinese pages" "put the .ttc files in ~/.local/share/fonts"
    else
        need fontconfig fontconfig "finds fonts for the screenshots" "it comes with any browser you unpack"
        say "with it the fonts: packages fonts-dejavu-core fonts-noto-cjk"
        packages+=(fonts-dejavu-core fonts-noto-cjk)
    fi
fi

if [ ${#packages[@]} -gt 0 ]; then
    as_root=()
    able=yes
    if ! has apt-get; then
        able="this is not a Debian machine (no apt-get)"
    elif [ "$(id -u)" != 0 ]; then
        # A password can be asked for where somebody sits before the terminal.
        if has sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
            as_root=(sudo)
        else
            able="neither root nor sudo"
        fi
    fi
    if [ "$able" != yes ]; then
        say "cannot install ${packages[*]}: $able. Do it by hand as said above" >&2
        exit 1
    fi
    apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@"; }
    say "now: apt-get install ${packages[*]}"
    apt update
    apt install -y --no-install-recommends "${packages[@]}"
fi

if [ "$purpose" = test ]; then
    # npm writes its own copy of the lock file last; older than ours means not yet, or not this version.
    if [ ! tests/browser/node_modules/.package-lock.json -nt tests/browser/package-lock.json ]; then
        say "npm ci in tests/browser (drivers of browsers, axe, TypeScript; versions and hashes by package-lock.json; no install scripts)"
        (cd tests/browser && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
        touch tests/browser/node_modules/.package-lock.json
    fi
fi
