# Sourced after packages.sh and guest.sh, with $root set: the files of a small Debian 12 that containers start from.

container_tree=$root/target/containers/debian-12.tar
container_packages=dbus,iproute2,qemu-system-x86,systemd,systemd-sysv

container_extras=

# Another Debian, with libvirt in it.
with_libvirt() {
  container_tree=$root/target/containers/debian-12-libvirt.tar
  container_extras='libvirt-clients libvirt-daemon-system'
}

# Returns 0 when it is there; 3 when this host cannot have it: $reason then says why.
get_container_tree() {
  if up_to_date "$container_tree" "$root/scripts/lib/containers.sh"; then return 0; fi
  local site keyring=/usr/share/keyrings/debian-archive-keyring.gpg proxy=
  # The mirror is whatever this machine already uses for its own packages, and so is the proxy.
  site=$(apt-get indextargets --format '$(SITE) $(RELEASE) $(COMPONENT)' | sed -n 's/ bookworm main$//p' | head -n 1)
  if [ -z "$site" ] || [ ! -r "$keyring" ]; then
    reason="apt has no source for Debian 12 (bookworm main), or $keyring is missing"
    return 3
  fi
  eval "$(apt-config shell proxy Acquire::http::Proxy)"
  need_command debootstrap debootstrap
  mkdir -p "$(dirname "$container_tree")"
  echo "making a Debian 12 for the containers" >&2
  # On a tmpfs of its own, because dpkg waits for the disk after each file; it goes with its mount namespace.
  http_proxy=${proxy:-${http_proxy:-}} unshare --mount --propagation private \
    bash -euc '
      mount -t tmpfs tmpfs /mnt
      if ! debootstrap --variant=minbase --include="$1" bookworm /mnt/tree "$2" >"$3.log" 2>&1; then
        tail -n 5 "$3.log" >&2
        exit 1
      fi
      # By apt, because debootstrap does not get along with what polkitd does when it is configured.
      if [ -n "$4" ]; then
        printf "#!/bin/sh\nexit 101\n" >/mnt/tree/usr/sbin/policy-rc.d
        chmod 755 /mnt/tree/usr/sbin/policy-rc.d
        chroot /mnt/tree apt-get update -qq >>"$3.log" 2>&1
        DEBIAN_FRONTEND=noninteractive chroot /mnt/tree apt-get install -y -qq --no-install-recommends $4 >>"$3.log" 2>&1
        rm /mnt/tree/usr/sbin/policy-rc.d
      fi
      rm -rf /mnt/tree/var/cache/apt/archives/*.deb /mnt/tree/var/lib/apt/lists/* /mnt/tree/usr/share/{doc,locale,man}/*
      tar -C /mnt/tree -cf "$3.new" .
    ' - "$container_packages" "$site" "$container_tree" "$container_extras" || return
  mv "$container_tree.new" "$container_tree"
}
