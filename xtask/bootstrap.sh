#!/bin/sh
# Prints the folder of a cargo and rustc that are new enough for this workspace, for PATH's front. On a bare Debian or
# Ubuntu machine it installs them first, with what the first build of xtask takes; the rest is `cargo xtask setup`.
# Installs only what is missing and never removes a package. Says what it does on standard error.
set -eu

# The workspace's rust-version, 1.95.
minimum=$(sed -n 's/^rust-version = "1\.\([0-9]*\)".*/\1/p' "$(dirname "$0")/../Cargo.toml")

say() { echo "bootstrap: $*" >&2; }

# Whether a folder has both programs, new enough. `cargo 1.96.0 (...)` gives 96.
fits() {
    for program in cargo rustc; do
        minor=$("$1/$program" --version 2>/dev/null | sed -n "s/^$program 1\.\([0-9]*\)\..*/\1/p") || return 1
        [ -n "$minor" ] && [ "$minor" -ge "$minimum" ] || return 1
    done
}

find_rust() {
    for folder in "$(dirname "$(command -v cargo || echo /)")" "${CARGO_HOME:-${HOME:-/root}/.cargo}/bin" /usr/bin /usr/lib/rust-*/bin; do
        if [ -x "$folder/cargo" ] && [ -x "$folder/rustc" ] && fits "$folder"; then
            echo "$folder"
            return
        fi
    done
    return 1
}

# The newest Rust among the distribution's packages (rustc, rustc-web, rustc-1.95 ...), as "rustc-web cargo-web".
offered_rust() {
    apt-cache pkgnames rustc | grep -E '^rustc(-web|-1\.[0-9]+)?$' | while read -r package; do
        minor=$(LC_ALL=C apt-cache policy "$package" | sed -n 's/^ *Candidate: 1\.\([0-9]*\)\..*/\1/p')
        if [ -n "$minor" ] && [ "$minor" -ge "$minimum" ]; then
            echo "$minor $package cargo${package#rustc}"
        fi
    done | sort -n | tail -n 1 | cut -d ' ' -f 2-
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        say "needs root for: $*"
        say "Run this as root, or install sudo."
        exit 1
    fi
}

missing=
command -v cc >/dev/null || missing="$missing gcc libc6-dev"
[ -e /etc/ssl/certs/ca-certificates.crt ] || [ -e /etc/pki/tls/certs/ca-bundle.crt ] || missing="$missing ca-certificates"
rust=$(find_rust) || rust=
if [ -n "$rust" ] && [ -z "$missing" ]; then
    echo "$rust"
    exit
fi

if ! command -v apt-get >/dev/null; then
    say "this system has no apt, so install by hand what is missing:"
    [ -n "$rust" ] || say "  Rust 1.$minimum or newer (https://rustup.rs)"
    command -v cc >/dev/null || say "  a C compiler, cc, with the C library's headers"
    case $missing in *ca-certificates*) say "  CA certificates, for downloads by HTTPS" ;; esac
    exit 1
fi
say "apt-get update"
as_root apt-get -q update >&2
if [ -z "$rust" ]; then
    offered=$(offered_rust)
    if [ -z "$offered" ]; then
        say "this system's packages have no Rust 1.$minimum or newer: install rustup (https://rustup.rs), then run this again."
        exit 1
    fi
    missing="$missing $offered"
fi
say "apt-get install$missing"
# shellcheck disable=SC2086
as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install --yes --no-remove --no-install-recommends $missing >&2
find_rust || {
    say "installed$missing, and yet there is no cargo 1.$minimum or newer on PATH or in /usr/bin."
    exit 1
}
