# What the scripts of this folder share; sourced by them.
# shellcheck shell=bash

ci_dir=${CARGO_TARGET_DIR:-$PWD/target}/ci
mkdir -p "$ci_dir"
export CARGO_INCREMENTAL=0 CARGO_TERM_PROGRESS_WHEN=never

# Says that a check did not run, so that nobody takes it for passed, and succeeds: skip WHAT WHY
skip() {
    local line="**  $1 SKIPPED: $2  **"
    local stars=${line//?/\*}
    printf '%s\n' "$stars" "$line" "$stars" >&2
    exit 0
}

# Installs Debian packages if one of them is missing; fails where that cannot be done: packages NAME...
packages() {
    if dpkg-query -W -f='${db:Status-Status}\n' "$@" 2>/dev/null | grep -cx installed | grep -qx "$#"; then
        return
    fi
    command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || return 1
    { apt-get update && apt-get install -y --no-install-recommends "$@"; } >&2
}

# Compiles the quick set fast, and only what it uses: quick_profile [RUSTFLAG...]
# That needs a nightly compiler or RUSTC_BOOTSTRAP. Without optimisation a kernel may take hundreds of KiB of stack, and
# sanitizers leave out the probes that would find it too small.
quick_profile() {
    export CARGO_PROFILE_TEST_OPT_LEVEL=0 CARGO_PROFILE_TEST_DEBUG=0 CARGO_PROFILE_TEST_CODEGEN_UNITS=256
    export RUST_MIN_STACK=67108864 RUSTFLAGS="${*:+$* }-Zhint-mostly-unused"
}

# Fails unless a program with a bug is found out, so that a check that is off cannot pass; the report must have the
# given words: planted CODE WORDS RUNNER COMPILER...
planted() {
    local code=$1 words=$2 runner=$3
    shift 3
    printf '%s\n' "$code" >"$ci_dir/planted.rs"
    "$@" --edition 2024 --cap-lints allow -o "$ci_dir/planted" "$ci_dir/planted.rs"
    # shellcheck disable=SC2086
    if $runner "$ci_dir/planted" >"$ci_dir/planted.log" 2>&1 || ! grep -q "$words" "$ci_dir/planted.log"; then
        echo "a bug that was put in on purpose was not found" >&2
        exit 1
    fi
}

# Reads one element past the end of an allocation.
# shellcheck disable=SC2034
past_the_end='fn main() {
    let x = vec![1.0_f32; 3];
    print!("{}", unsafe { std::hint::black_box(x.as_ptr()).add(3).read() });
}'

# Debian's own compiler, unpacked into $rust: other targets and a standard library from source can be had from there
# without rustup. A fresh machine downloads about 90 MB, 45 MB more with sources: debian_rust [rust-web-src]
debian_rust() {
    rust=$ci_dir/debian-rust
    local std llvm
    command -v apt-get >/dev/null || return 1
    mkdir -p "$rust/packages"
    apt-cache show rustc-web >/dev/null 2>&1 || apt-get update >&2 || return 1
    std=$(apt-cache depends libstd-rust-web-dev | sed -n 's/.*Depends: \(libstd-rust-web-[0-9].*\)/\1/p')
    llvm=$(apt-cache depends "$std" | sed -n 's/.*Depends: \(libllvm.*\)/\1/p')
    set -- rustc-web libstd-rust-web-dev "$std" "$llvm" "$@"
    unpacked "$@" || { apt-get update >&2 && unpacked "$@"; } || return 1
    export RUSTC=$rust/usr/bin/rustc RUSTC_BOOTSTRAP=1
    export LD_LIBRARY_PATH=$rust/usr/lib/$(uname -m)-linux-gnu
    # The cargo of a toolchain itself: rustup's would choose a compiler of its own.
    cargo=$(rustup which cargo)
}

# Downloads packages and unpacks them into $rust, once: unpacked NAME...
unpacked() {
    local name
    for name in "$@"; do
        if [ ! -e "$rust/packages/$name.done" ]; then
            (cd "$rust/packages" && apt-get download "$name" >&2 && dpkg -x "$name"_*.deb ..) || return 1
            rm "$rust/packages/$name"_*.deb
            touch "$rust/packages/$name.done"
        fi
    done
}

# The quick set for this machine with the stable compiler; the scripts that run the same program in different ways share
# it.
native_quick_set() {
    quick_profile
    export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$ci_dir/native
}

# Compiles the quick set and the standard library for a sanitizer: instrumented SANITIZER RUNTIME. The runtime is the
# one that rustup's toolchain has; the compiler and the sources of the library are Debian's.
instrumented() {
    debian_rust rust-web-src || return 1
    local library=lib/rustlib/x86_64-unknown-linux-gnu/lib
    cp "${cargo%/bin/cargo}/$library/librustc-stable_rt.$2.a" "$rust/usr/$library/" || return 1
    quick_profile "-Zsanitizer=$1"
    export CARGO_TARGET_DIR=$ci_dir/$2
}
