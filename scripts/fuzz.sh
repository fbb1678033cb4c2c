#!/usr/bin/env bash
# Runs fuzz targets guided by coverage (libFuzzer, by cargo-fuzz; no nightly toolchain needed). The bounded run of the same
# targets is among the tests.
#
#   scripts/fuzz.sh list                      names the targets
#   scripts/fuzz.sh run TARGET [EXECUTIONS]   until so many executions (10,000,000) or a finding
#   scripts/fuzz.sh small TARGET [FILES]      puts the smallest corpus that covers as much (at most so many files, 16, and only
#                                             files up to 4 KB) into fixtures/fuzz/TARGET
#
# FUZZ_DIR (target/fuzz) holds the build, the growing corpora and the findings. A finding is shown with its file: put it into
# fixtures/fuzz/TARGET under a name that says what it is, then `cargo test --lib fuzzing::tests::TARGET` breaks until it is mended.
set -euo pipefail
cd "$(dirname "$0")/.."

dir=${FUZZ_DIR:-${CARGO_TARGET_DIR:-$PWD/target}/fuzz}
mkdir -p "$dir"

say() { printf 'fuzz: %s\n' "$*" >&2; }

if ! command -v cargo-fuzz >/dev/null; then
    say "cargo-fuzz is missing: cargo install cargo-fuzz"
    exit 1
fi

build() {
    # No sanitizer: ours is safe Rust, and without one the stable toolchain will do. `--cfg fuzzing` comes with the tool.
    cargo fuzz build --fuzz-dir fuzz --sanitizer none --target-dir "$dir/build" any >&2
    program=$(find "$dir/build/" -path '*/release/any' -type f | head -n 1)
}

# The folders of a target's inputs, and its own seeds.
prepare() {
    corpus=$dir/corpus/$1
    seeds=$dir/seeds/$1
    mkdir -p "$corpus" "$seeds" "$dir/findings/$1"
    LULL_FUZZ_TARGET=$1 LULL_FUZZ_SEEDS=$seeds "$program"
    folders=("$seeds")
    for folder in "fuzz/$1" $(LULL_FUZZ_TARGET='' "$program" | awk -v name="$1" '$1 == name { $1 = ""; print }'); do
        [ ! -d "fixtures/$folder" ] || folders+=("fixtures/$folder")
    done
}

command=${1:-}
case $command in
    list)
        build
        LULL_FUZZ_TARGET='' "$program" | awk '{ print $1 }'
        ;;
    run)
        target=${2:?which target?}
        build
        prepare "$target"
        # An input that takes ten seconds, or 2 GB, is a finding as well.
        LULL_FUZZ_TARGET=$target "$program" "$corpus" "${folders[@]}" -runs="${3:-10000000}" -max_len=8192 -timeout=10 -rss_limit_mb=2048 \
            -print_final_stats=1 -artifact_prefix="$dir/findings/$target/"
        ;;
    small)
        target=${2:?which target?}
        build
        prepare "$target"
        merged=$(mktemp -d)
        trap 'rm -rf "$merged"' EXIT
        LULL_FUZZ_TARGET=$target "$program" -merge=1 -max_len=4096 "$merged" "$corpus" "${folders[@]}" >&2
        mkdir -p "fixtures/fuzz/$target"
        # Findings have names of words and stay; what a run before put there makes room.
        find "fixtures/fuzz/$target" -type f -regextype posix-extended -regex '.*/[0-9a-f]{40}' -delete
        find "$merged" -type f | sort | shuf -n "${3:-16}" --random-source=<(yes) | while read -r file; do
            cp "$file" "fixtures/fuzz/$target/"
        done
        du -sh --apparent-size "fixtures/fuzz/$target" >&2
        ;;
    *)
        sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
        exit 2
        ;;
esac
