#!/usr/bin/env bash
# Brings libtorch 2.13.0 to this machine, once, and points the build at it through the link .libtorch.
#
#   scripts/setup.sh            safe to run again: it does nothing when all is in place
#
# An existing LIBTORCH (a folder with include/ and lib/) is used as it is. Otherwise the PyPI wheel is unpacked into
# ${RLHF_CACHE:-~/.cache/rlhf}: CPU libraries only, or the full CUDA set where an NVIDIA GPU answers.
set -euo pipefail
cd "$(dirname "$0")/.."

die() { printf 'setup: %s\n' "$*" >&2; exit 2; }

version=2.13.0
need_mb=2600   # wheel + unpacked libraries
cache=${RLHF_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rlhf}

command -v cargo >/dev/null || die "cargo is missing: install Rust 1.88 or newer (https://rustup.rs, or your system's packages)"
command -v c++ >/dev/null || die "a C++ compiler is missing: install g++ 11 or newer (Debian: apt-get install g++)"
rust=$(cargo --version | sed -E 's/^cargo ([0-9]+)\.([0-9]+).*/\1 \2/')
[ "${rust% *}" -gt 1 ] || [ "${rust#* }" -ge 88 ] || die "$(cargo --version) is too old: Rust 1.88 or newer is needed (rustup update stable)"

point_at() {   # the build always sees the same path, whatever the shell's environment holds: no needless rebuilds
  [ -e "$1/lib/libtorch_cpu.so" ] || die "no lib/libtorch_cpu.so in $1: unset LIBTORCH, or point it at a libtorch $version folder"
  [ "$(readlink .libtorch 2>/dev/null)" = "$1" ] || ln -sfn "$1" .libtorch
}

[ -z "${LIBTORCH:-}" ] || [ -d "$LIBTORCH" ] || die "LIBTORCH is $LIBTORCH, which is no folder: unset it, or point it at a libtorch $version folder"
if [ -n "${LIBTORCH:-}" ] && [ "$(readlink -f "$LIBTORCH")" != "$(readlink -f .libtorch 2>/dev/null)" ]; then
  point_at "$(readlink -f "$LIBTORCH")"; exit 0
fi
[ -e .libtorch/lib/libtorch_cpu.so ] && exit 0

[ "$(uname -sm)" = "Linux x86_64" ] || die "no pinned libtorch for $(uname -sm): set LIBTORCH to a libtorch $version folder"
kind=cpu
if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then kind=cuda; need_mb=12000; fi
home=$cache/libtorch-$version-$kind
if [ ! -e "$home/torch/lib/libtorch_cpu.so" ]; then
  command -v python3 >/dev/null || die "python3 is missing: it unpacks libtorch once (Debian: apt-get install python3 python3-pip), or set LIBTORCH"
  python3 -m pip --version >/dev/null 2>&1 || die "pip is missing: install it (Debian: apt-get install python3-pip), or set LIBTORCH"
  mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ] || die "cannot write $cache: set RLHF_CACHE to a folder with $need_mb MB free"
  free_mb=$(df -Pm "$cache" | awk 'NR==2 {print $4}')
  [ "$free_mb" -ge "$need_mb" ] || die "$need_mb MB are needed in $cache and $free_mb MB are free: set RLHF_CACHE to a larger disk"
  work=$(mktemp -d "$cache/.fetch.XXXXXX"); trap 'rm -rf "$work"' EXIT
  echo "setup: fetching libtorch $version ($kind) into $cache"
  # The wheel is the same whichever Python runs pip: ask for one tag, so that one hash is enough.
  pip_get() { python3 -m pip --disable-pip-version-check -q "$@" 2>"$work/pip.log" || {
    tail -n 3 "$work/pip.log" >&2; die "pip could not fetch libtorch: check the network (or a proxy, PIP_INDEX_URL), or set LIBTORCH"; }; }
  tags=(--only-binary=:all: --python-version 3.11 --implementation cp --abi cp311 --abi none
        --platform manylinux_2_28_x86_64 --platform manylinux_2_25_x86_64 --platform manylinux2014_x86_64)
  if [ $kind = cpu ]; then
    pip_get download --no-deps --require-hashes -r scripts/libtorch.lock "${tags[@]}" -d "$work/wheels"
    python3 - "$work" <<'PY'
import pathlib, sys, zipfile
work = pathlib.Path(sys.argv[1])
cuda = ("libtorch_cuda", "libc10_cuda", "libtorch_nvshmem", "libcaffe2_nvrtc", "libtorch_python", "libshm")
for wheel in sorted((work / "wheels").glob("*.whl")):
    with zipfile.ZipFile(wheel) as z:
        for name in z.namelist():
            top, base = name.split("/", 2)[:2], name.rsplit("/", 1)[-1]
            keep = (top == ["torch", "include"] or top == ["torch", "share"]
                    or (top == ["torch", "lib"] and not base.startswith(cuda))
                    or base in ("libcudart.so.13", "libcupti.so.13"))
            if keep: z.extract(name, work / "out")
PY
  else
    pip_get install --target "$work/out" "torch==$version"
  fi
  rm -rf "$home"; mv "$work/out" "$home"
fi
point_at "$home/torch"
