# Sourced: makes sure that tools are there, from the distribution's own packages and only what is missing.

# need_packages PACKAGE...: installs those of them that are not installed.
need_packages() {
  local package missing=()
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    echo "error: no apt-get here; install what corresponds to these Debian packages by hand: $*" >&2
    return 2
  fi
  for package in "$@"; do
    package_installed "$package" || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    echo "error: packages are missing and only root can install them; run: apt-get install --no-install-recommends ${missing[*]}" >&2
    return 2
  fi
  echo "installing ${missing[*]}" >&2
  update_package_lists
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2 || {
    echo "error: apt-get could not install ${missing[*]}; see its messages above" >&2
    return 2
  }
}

package_installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null || true)" = installed ]
}

# Refreshes the package lists, once per run. A mirror that drops old versions makes stale lists fail with 404, and a
# fresh container has no lists at all.
update_package_lists() {
  [ -z "${package_lists_updated:-}" ] || return 0
  # One broken third-party source must not stop the rest: what is really missing fails by name later.
  apt-get update -qq >&2 || echo "warning: apt-get update had errors; going on with the lists that are there" >&2
  package_lists_updated=yes
}

# need_command COMMAND PACKAGE: installs PACKAGE where COMMAND is not found, wherever it may have come from.
need_command() {
  command -v "$1" >/dev/null || need_packages "$2"
}

need_qemu() { need_command qemu-system-x86_64 qemu-system-x86; }

# What builds the guests. libc6-dev has the static libc that the Linux guest's program is linked with.
need_guest_tools() {
  need_command gcc gcc
  need_command objcopy binutils
  need_command cpio cpio
  need_packages libc6-dev
}

need_ip() { need_command ip iproute2; }

need_maven() { need_command mvn maven; }

# A JDK of 25 or later: nothing to do where there is one, else the distribution's where it has one.
need_jdk() {
  if (. "$root/scripts/lib/jdk.sh") 2>/dev/null; then return 0; fi
  [ "$(id -u)" -ne 0 ] || update_package_lists
  if [ -n "$(apt-cache policy openjdk-25-jdk-headless 2>/dev/null | sed -n 's/^  Candidate: //p' | grep -v '(none)')" ]; then
    need_packages openjdk-25-jdk-headless
  else
    echo "error: this distribution has no JDK 25; install Temurin 25 below /usr/lib/jvm or set JAVA_HOME" >&2
    return 2
  fi
}

# download_packages FOLDER [APT-OPTION...] -- PACKAGE...: puts the packages' files into FOLDER; installs nothing.
download_packages() {
  local folder=$1 options=()
  shift
  while [ "$1" != -- ]; do options+=("$1"); shift; done
  shift
  mkdir -p "$folder"
  # As root apt drops to the user _apt, which often cannot write below the build folder.
  (cd "$folder" && apt-get -qq -o APT::Sandbox::User=root "${options[@]}" download "$@" >&2)
}
