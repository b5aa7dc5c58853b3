# Sourced after packages.sh, with $root set: puts QEMU builds into $root/target/qemu/NAME/qemu-system-x86_64. Each is a
# small script that execs the real binary with its own data and modules, so that every build is called the same way and
# the pid of the caller's child is QEMU's.
#
#   installed  the distribution's own
#   10.0       Debian 12's backports package, unpacked beside the installed one

qemu_folder=$root/target/qemu
qemu_names='installed 10.0'

# get_qemu NAME: returns 0 when the build is there; 3 when this host cannot have it and 4 when it could but for now does
# not: $reason then says why. Its caller looks at the result, which turns `set -e` off in here: what can fail says
# `|| return` itself.
get_qemu() {
  case $1 in
    installed) get_qemu_installed ;;
    10.0) get_qemu_10_0 ;;
    *) echo "error: no QEMU build is called '$1'; there are: $qemu_names" >&2; return 2 ;;
  esac
}

get_qemu_installed() {
  need_qemu || return 2
  local target=$qemu_folder/installed
  mkdir -p "$target"
  write_launcher "$target/qemu-system-x86_64" "exec '$(command -v qemu-system-x86_64)' \"\$@\""
}

# Replaces the launcher only where it differs: another run may be executing it.
write_launcher() {
  local new=$1.new
  printf '#!/bin/sh\n%s\n' "$2" >"$new"
  chmod 755 "$new"
  if cmp -s "$new" "$1"; then rm "$new"; else mv "$new" "$1"; fi
}

get_qemu_10_0() {
  local target=$qemu_folder/10.0 launcher=$qemu_folder/10.0/qemu-system-x86_64
  if [ -x "$launcher" ] && "$launcher" --version >/dev/null 2>&1; then return 0; fi
  local id version
  id=$(. /etc/os-release && echo "${ID:-}")
  version=$(. /etc/os-release && echo "${VERSION_ID:-}")
  if [ "$id $version" != 'debian 12' ]; then
    reason="QEMU 10.0 is taken from Debian 12's backports; this is ${id:-unknown} ${version}"
    return 3
  fi
  [ "$(id -u)" -ne 0 ] || need_qemu # its libraries are nearly all of what 10.0 needs
  # The mirror is whatever this machine already uses for its own packages.
  local site keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  site=$(apt-get indextargets --format '$(SITE) $(RELEASE) $(COMPONENT)' | sed -n 's/ bookworm main$//p' | head -n 1)
  if [ -z "$site" ] || [ ! -r "$keyring" ]; then
    reason="apt has no source for Debian 12 (bookworm main), or $keyring is missing; restore them or do without QEMU 10.0"
    return 4
  fi
  mkdir -p "$target/apt/lists/partial" "$target/packages"
  echo "deb [signed-by=$keyring] $site bookworm-backports main" >"$target/apt/sources.list"
  # Both suites in one private list, so that a library missing here can come from either; the system's own
  # configuration and lists are left as they are.
  echo "deb [signed-by=$keyring] $site bookworm main" >>"$target/apt/sources.list"
  local apt=(-o Dir::Etc::sourcelist="$target/apt/sources.list" -o Dir::Etc::sourceparts=-
    -o Dir::State::lists="$target/apt/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
    -o APT::Default-Release=bookworm-backports -o APT::Sandbox::User=root)
  echo "fetching QEMU 10.0 from bookworm-backports" >&2
  if ! apt-get -qq "${apt[@]}" update >&2; then
    reason="the package lists of bookworm-backports cannot be fetched from $site; check the network or do without QEMU 10.0"
    return 4
  fi
  rm -rf "$target/packages" "$target/root"
  download_packages "$target/packages" "${apt[@]}" -- qemu-system-x86 qemu-system-common qemu-system-data seabios ipxe-qemu || return 2
  local package
  for package in "$target"/packages/*.deb; do dpkg -x "$package" "$target/root" || return 2; done
  get_missing_libraries "$target" "${apt[@]}" || return 2
  local usr=$target/root/usr
  write_launcher "$launcher" "export QEMU_MODULE_DIR='$usr/lib/x86_64-linux-gnu/qemu'
export LD_LIBRARY_PATH='$usr/lib/x86_64-linux-gnu'
exec '$usr/bin/qemu-system-x86_64' -L '$usr/share/qemu' -L '$usr/share/seabios' -L '$usr/lib/ipxe/qemu' \"\$@\""
  if ! "$launcher" --version >/dev/null; then
    rm -f "$launcher"
    echo "error: the unpacked QEMU 10.0 does not start; remove $target and try again" >&2
    return 2
  fi
  rm -rf "$target/packages" "$target/libraries" "$target/apt"
}

# Unpacks, beside the binary, what it depends on and this machine does not have. Nothing is installed, so the system's
# own packages cannot be moved to the backports' versions by accident.
get_missing_libraries() {
  local target=$1 depends package missing=()
  shift
  # Not grep -q: it would end before ldd does, and under pipefail that is a failure too.
  LD_LIBRARY_PATH=$target/root/usr/lib/x86_64-linux-gnu ldd "$target/root/usr/bin/qemu-system-x86_64" | grep 'not found' >/dev/null || return 0
  depends=$(dpkg-deb -f "$target"/packages/qemu-system-x86_*.deb Depends | tr ',' '\n' | sed 's/|.*//; s/(.*//; s/ //g')
  for package in $depends; do
    case $package in lib*) package_installed "$package" || missing+=("$package") ;; esac
  done
  [ ${#missing[@]} -eq 0 ] || download_packages "$target/libraries" "$@" -- "${missing[@]}" || return 2
  for package in "$target"/libraries/*.deb; do [ ! -e "$package" ] || dpkg -x "$package" "$target/root"; done
  # Some distributions still keep libraries in /lib.
  if [ -d "$target/root/lib" ]; then cp -a "$target/root/lib/." "$target/root/usr/lib/" && rm -rf "$target/root/lib"; fi
  local unresolved
  unresolved=$(LD_LIBRARY_PATH=$target/root/usr/lib/x86_64-linux-gnu ldd "$target/root/usr/bin/qemu-system-x86_64" | sed -n 's/ => not found//p')
  if [ -n "$unresolved" ]; then
    echo "error: QEMU 10.0 needs libraries that no package it depends on has: "$unresolved"" >&2
    return 2
  fi
}
