# Sourced by the other scripts: what this machine still lacks, and how it gets it. Says nothing when nothing is missing.
#
#   only_options "OPTION..." "$@"    --help, and no options but these
#   setup_packages SET...    system packages by apt: runtime, image, test
#   setup_unpacked PROGRAM PACKAGE   a server that scripts/bench compares with, unpacked into .venv: nothing of it is installed
#   setup_venv LEVEL         .venv with the pinned requirements: cell (what a node needs) or dev (also tests and linters)
#
# Everything is told on stderr, so that a caller's stdout stays its own. Nothing is started and no service is enabled:
# only libvirt's daemon itself is installed, not its system integration; Nano starts a private one.

# libvirt-python has no wheels: it is built from source, which needs the headers and a compiler.
packages_runtime=(qemu-system-x86 qemu-utils libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients
    libvirt-dev pkg-config gcc libc6-dev dnsmasq-base iproute2 mount ebtables iptables nftables)
packages_image=(syslinux syslinux-common mtools dosfstools fakeroot cpio binutils e2fsprogs zstd)
packages_test=(fonts-noto-cjk git postgresql)
packages_bench=(nghttp2-client curl openssl)
# Ubuntu has Chromium only as a snap: any that answers to this name will do.
command -v chromium >/dev/null || packages_test+=(chromium)

say() { printf '%s\n' "$*" >&2; }

only_options() { # only_options "OPTION..." "$@": --help tells the comment at the head of the calling script; other options are refused
    local known=$1 word
    shift
    for word; do
        case "$word" in
            -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "scripts/${0##*/}" && exit 0 ;;
            -*) [[ " $known " == *" $word "* ]] || fail "scripts/${0##*/} has no option $word." "scripts/${0##*/} --help tells what it does." ;;
        esac
    done
}

fail() { # fail WHAT HINT
    say "error: $1"
    say "       $2"
    exit 1
}

need_root() { # need_root WHY: only being root, or having sudo, goes on
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null || fail "$1 needs root, and there is no sudo here." "Run this as root."
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

missing_packages() { # those of the arguments that dpkg does not have installed
    local installed
    installed=" $(dpkg-query --show --showformat='${db:Status-Status}:${Package} ' "$@" 2>/dev/null || true) " # it fails when one is unknown
    local package
    for package in "$@"; do
        [[ $installed == *" installed:$package "* ]] || printf '%s\n' "$package"
    done
}

setup_packages() { # setup_packages SET...
    local set_name wanted=() missing
    for set_name in "$@"; do
        local -n members=packages_$set_name
        wanted+=("${members[@]}")
    done
    command -v dpkg-query >/dev/null || fail "This machine has no dpkg." "Nano is set up on Debian 12 or Ubuntu."
    mapfile -t missing < <(missing_packages "${wanted[@]}")
    install_packages "${missing[@]}"
}

install_packages() { # install_packages PACKAGE...
    [ $# -gt 0 ] || return 0
    need_root "Installing system packages ($*)"
    say "Installing $# system packages: $*"
    [[ " $* " != *" postgresql "* ]] || no_postgres_cluster
    local log
    log=$(mktemp)
    if ! { as_root apt-get -q update && as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y --no-install-recommends install "$@"; } </dev/null >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        fail "The packages could not be installed; all that apt-get said is in $log." "Mend what it complains about, then run this again."
    fi
    rm -f "$log"
}

no_postgres_cluster() { # Debian's server package would make a cluster and start it; the tests start their own
    [ ! -e /etc/postgresql-common/createcluster.conf ] || return 0 # whoever has it already knows what they want
    as_root mkdir -p /etc/postgresql-common/createcluster.d
    echo "create_main_cluster = false" | as_root tee /etc/postgresql-common/createcluster.d/nano.conf >/dev/null
}

setup_unpacked() { # setup_unpacked PROGRAM PACKAGE: not installed, because its package would start a service
    command -v "$1" >/dev/null || [ -x ".venv/bench/usr/bin/$1" ] || [ -x ".venv/bench/usr/sbin/$1" ] || (
        say "Unpacking $2 into .venv/bench"
        mkdir -p .venv/bench
        package=$(mktemp -d)
        trap 'rm -rf "$package"' EXIT
        cd "$package"
        { apt-get -q download "$2" || { as_root apt-get -q update && apt-get -q download "$2"; }; } >log 2>&1 </dev/null ||
            { cat log >&2 && fail "$2 could not be fetched." "Check the network and apt's sources."; }
        dpkg-deb --extract ./*.deb "$OLDPWD/.venv/bench"
    )
}

find_python() { # sets $python to the system's python3, or another of at least 3.11
    local candidate
    command -v python3 >/dev/null || install_packages python3
    for candidate in python3 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$(command -v "$candidate")
            return
        fi
    done
    fail "There is no python3 of version 3.11 or later." "On Debian 12 and Ubuntu 24.04: apt-get install python3"
}

setup_python() { # the parts of Python that Debian packs apart: venv, and the headers for libvirt-python
    find_python
    "$python" -c 'import ensurepip, venv, os, sysconfig, sys
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' 2>/dev/null && return
    local version
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    install_packages "python$version-venv" "python$version-dev"
}

setup_venv() { # setup_venv cell|dev
    local level=$1 digest
    digest=$(cat requirements/build.txt "requirements/$level.txt" pyproject.toml | sha256sum | cut -d' ' -f1)
    venv_is "$level" "$digest" && return 0
    # One at a time (the lock is on this folder); the subshell lets go of it before anything that lives longer is started.
    (
        flock 9
        venv_is "$level" "$digest" || make_venv "$level" "$digest"
    ) 9<.
}

venv_is() { # venv_is LEVEL DIGEST: is that in place? (dev holds all that cell asks for)
    [ -x .venv/bin/python ] && [ "$(cat ".venv/nano-$1" 2>/dev/null)" = "$2 $PWD" ]
}

make_venv() { # make_venv LEVEL DIGEST
    setup_python
    if ! .venv/bin/python -c '' 2>/dev/null; then
        say "Making .venv with $("$python" --version) ($python)"
        rm -rf .venv
        "$python" -m venv .venv
    fi
    rm -f .venv/nano-*
    local log=.venv/pip.log
    : >"$log"
    say "Installing the pinned requirements ($1, $(grep -c '^[a-z0-9].*==' "requirements/$1.txt") packages)"
    pip_install --require-hashes -r requirements/build.txt
    # libvirt-python and the project are built by what is pinned in build.txt, not by what pip would fetch for it.
    pip_install --require-hashes --no-build-isolation -r "requirements/$1.txt"
    pip_install --no-deps --no-build-isolation --editable .
    # Byte code once, by the owner of this folder: under sudo nobody writes it.
    .venv/bin/python -m compileall -q -j 0 src/nano/*/ >/dev/null || true
    local level
    for level in cell dev; do
        [ "$level" = cell ] || [ "$1" = dev ] || continue
        printf '%s %s\n' "$(cat requirements/build.txt "requirements/$level.txt" pyproject.toml | sha256sum | cut -d' ' -f1)" "$PWD" >".venv/nano-$level"
    done
}

pip_install() {
    if ! .venv/bin/python -m pip install --disable-pip-version-check --no-input "$@" >>"$log" 2>&1; then
        tail -n 20 "$log" >&2
        fail "pip could not install the requirements; all that it said is in $PWD/$log." "Check the network (and pip's configuration), then run this again."
    fi
}
