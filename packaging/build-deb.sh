#!/usr/bin/env bash
# Makes the three .deb packages from built binaries.
#
#   packaging/build-deb.sh TARGET_PROFILE_DIR OUT_DIR      e.g. packaging/build-deb.sh target/release target/debian
#
# Needs bash and dpkg-deb; uses objdump (binutils) and strip where they are. Compiles nothing, needs no root.
# Same inputs, same bytes: owners, order and times are fixed (SOURCE_DATE_EPOCH, else the last commit's time).
# The packages' paths are printed on stdout, a line each.
set -euo pipefail
umask 022

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")

die() {
    printf 'build-deb: %s\n' "$*" >&2
    exit 1
}

[[ $# -eq 2 ]] || die "usage: packaging/build-deb.sh TARGET_PROFILE_DIR OUT_DIR"
[[ -d $1 ]] || die "no folder $1; build first: cargo build --release -p clusterctl -p clusterctl-agent -p clusterctl-coordinator"
command -v dpkg-deb >/dev/null || die "dpkg-deb is not here; apt-get install dpkg"
bin=$(cd "$1" && pwd)
mkdir -p "$2"
out=$(cd "$2" && pwd)

version=$(awk -F'"' '/^\[/ { inside = ($0 == "[workspace.package]") } inside && /^version *=/ { print $2; exit }' "$root/Cargo.toml")
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+ ]] || die "no version under [workspace.package] in $root/Cargo.toml"
version=${version/-/\~}-${DEB_REVISION:-1} # 1.0.0-rc.1 sorts before 1.0.0
arch=$(dpkg --print-architecture)
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || echo 1700000000)}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The libraries that the binary asks the loader for, as Debian packages. With no objdump here, the C library
# that it was linked against: never too old, perhaps newer than needed.
library_depends() {
    local binary=$1 glibc needed depends
    if command -v objdump >/dev/null && needed=$(objdump -p "$binary" 2>/dev/null); then
        glibc=$(grep -o 'GLIBC_[0-9.]*' <<<"$needed" | sed 's/GLIBC_//' | sort -uV | tail -n 1) || true
    fi
    if [[ -z ${glibc:-} ]]; then
        glibc=$(dpkg-query -W -f '${Version}' libc6 2>/dev/null | sed 's/[-+~].*//') || true
    fi
    depends="libc6 (>= ${glibc:-2.36})"
    if [[ -z ${needed:-} ]] || grep -q 'NEEDED.*libgcc_s' <<<"$needed"; then
        depends+=", libgcc-s1"
    fi
    printf '%s' "$depends"
}

# install_file MODE SOURCE PATH_IN_PACKAGE
install_file() { install -D -m "$1" "$2" "$tree$3"; }

binary() {
    local name=$1
    [[ -f $bin/$name ]] || die "no $bin/$name; build it first: cargo build -p $name"
    install_file 0755 "$bin/$name" "/usr/bin/$name"
    if command -v strip >/dev/null; then
        # what is no ELF file (a stand-in of a test) stays as it is
        strip --strip-unneeded "$tree/usr/bin/$name" 2>/dev/null || true
    fi
}

# Completions come from the program itself; a binary for another machine cannot be asked.
completions() {
    local shell path
    while read -r shell path; do
        if "$bin/clusterctl" completion "$shell" >"$work/completion" 2>/dev/null </dev/null && [[ -s $work/completion ]]; then
            install_file 0644 "$work/completion" "$path"
        else
            printf 'build-deb: note: no %s completion: clusterctl did not print one\n' "$shell" >&2
        fi
    done <<'LIST'
bash /usr/share/bash-completion/completions/clusterctl
zsh /usr/share/zsh/vendor-completions/_clusterctl
fish /usr/share/fish/vendor_completions.d/clusterctl.fish
LIST
}

unit() { install_file 0644 "$here/systemd/$1" "/usr/lib/systemd/system/$1"; }
sysusers() { install_file 0644 "$here/sysusers/$1" "/usr/lib/sysusers.d/$1"; }
tmpfiles() { install_file 0644 "$here/tmpfiles/$1" "/usr/lib/tmpfiles.d/$1"; }
sysctl() { install_file 0644 "$here/sysctl/$1" "/usr/lib/sysctl.d/$1"; }
conffile() {
    install_file 0644 "$here/config/$1" "/etc/clusterctl/$1"
    printf '/etc/clusterctl/%s\n' "$1" >>"$tree/DEBIAN/conffiles"
}

# package NAME: fills the control folder, fixes times, makes NAME_VERSION_ARCH.deb
package() {
    local name=$1 script size
    install_file 0644 "$root/LICENSE" "/usr/share/doc/$name/copyright"
    for script in preinst postinst prerm postrm; do
        if [[ -f $here/deb/$name/$script ]]; then
            install_file 0755 "$here/deb/$name/$script" "/DEBIAN/$script"
        fi
    done
    # in KiB, each file rounded up, as dpkg counts
    size=$(find "$tree" -path "$tree/DEBIAN" -prune -o -type f -printf '%s\n' | awk '{ n += int(($1 + 1023) / 1024) } END { print n }')
    sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" -e "s/@SIZE@/$size/" \
        -e "s/@LIBS@/$(library_depends "$tree/usr/bin/$name")/" "$here/deb/$name/control" >"$tree/DEBIAN/control"
    (cd "$tree" && find . -path ./DEBIAN -prune -o -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' md5sum) >"$tree/DEBIAN/md5sums"
    find "$tree" -print0 | xargs -0 touch --no-dereference --date="@$SOURCE_DATE_EPOCH"
    # zstd: every dpkg since Debian 12 and Ubuntu 21.10 reads it, and it packs ten times faster than xz
    dpkg-deb --root-owner-group -Zzstd -z3 --build "$tree" "$out/${name}_${version}_${arch}.deb" >/dev/null
    printf '%s\n' "$out/${name}_${version}_${arch}.deb"
}

begin() {
    tree=$work/$1
    mkdir -p "$tree/DEBIAN"
}

# An older version beside the new one would only confuse who installs `*.deb`.
rm -f "$out"/clusterctl_*.deb "$out"/clusterctl-agent_*.deb "$out"/clusterctl-coordinator_*.deb

begin clusterctl
binary clusterctl
completions
sysusers clusterctl.conf
install -d -m 0755 "$tree/etc/clusterctl"
package clusterctl

begin clusterctl-agent
binary clusterctl-agent
unit clusterctl-agent.service
tmpfiles clusterctl-agent.conf
sysctl 60-clusterctl-agent.conf
conffile agent.toml
package clusterctl-agent

begin clusterctl-coordinator
binary clusterctl-coordinator
unit clusterctl-coordinator.service
sysusers clusterctl-coordinator.conf
conffile coordinator.toml
package clusterctl-coordinator
