# Sourced after packages.sh, with $root set: builds the guests into $root/target/guest/:
#
#   vmlinuz              the distribution's kernel for virtual machines, unpacked and not installed
#   initramfs.cpio.gz    init.c, statically linked, as its only program, and the kernel's virtio modules
#   boot-sector.bin      a disk whose first sector is boot-sector.S, for KVM
#
# What is there and not older than its source is left alone, so this is cheap to call each time.

guest_folder=$root/target/guest
guest_modules='virtio virtio_ring virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk virtio_console
  rng-core virtio-rng virtio_balloon failover net_failover virtio_net'

get_guest() {
  mkdir -p "$guest_folder"
  get_kernel
  get_initramfs
  get_boot_sector
}

up_to_date() { # TARGET SOURCE...
  local target=$1 source
  shift
  [ -s "$target" ] || return 1
  for source in "$@"; do [ ! "$source" -nt "$target" ] || return 1; done
}

get_kernel() {
  [ ! -s "$guest_folder/vmlinuz" ] || return 0
  local meta package folder=$guest_folder/kernel
  case $(. /etc/os-release && echo "${ID:-} ${ID_LIKE:-}") in
    ubuntu*) meta=linux-image-virtual ;;
    *) meta=linux-image-cloud-amd64 ;;
  esac
  package=$(kernel_package $meta)
  if [ -z "$package" ]; then
    [ "$(id -u)" -ne 0 ] || update_package_lists
    package=$(kernel_package $meta)
  fi
  if [ -z "$package" ]; then
    echo "error: apt knows no package $meta; run apt-get update as root, or put a kernel at $guest_folder/vmlinuz" >&2
    return 2
  fi
  echo "fetching the guest's kernel ($package)" >&2
  rm -rf "$folder"
  if ! download_packages "$folder" -- "$package" 2>"$guest_folder/download.log"; then
    # Stale lists name versions that the mirror has dropped.
    [ "$(id -u)" -ne 0 ] || update_package_lists
    package=$(kernel_package $meta)
    download_packages "$folder" -- "$package"
  fi
  # Ubuntu keeps the modules in a package of their own.
  case $package in *-generic) download_packages "$folder" -- "${package/linux-image-/linux-modules-}" ;; esac
  local file
  for file in "$folder"/*.deb; do dpkg -x "$file" "$folder/root"; done
  local kernel=("$folder"/root/boot/vmlinuz-*)
  rm -rf "$guest_folder/modules"
  mkdir "$guest_folder/modules"
  local module found
  for module in $guest_modules; do
    found=$(find "$folder/root" -name "$module.ko*" -print -quit)
    case $found in
      '') ;; # part of the kernel, or not made for it
      *.xz) need_command xz xz-utils || return 2
        xz -dc "$found" >"$guest_folder/modules/$module.ko" ;;
      *.zst) need_command zstd zstd || return 2
        zstd -dqc "$found" >"$guest_folder/modules/$module.ko" ;;
      *) cp "$found" "$guest_folder/modules/" ;;
    esac
  done
  # Readable by all: a QEMU without privileges is to read it.
  install -m 644 "${kernel[0]}" "$guest_folder/vmlinuz.new"
  mv "$guest_folder/vmlinuz.new" "$guest_folder/vmlinuz"
  rm -rf "$folder" "$guest_folder/download.log"
}

# The package that $1 depends on and that has the kernel in it.
kernel_package() {
  apt-cache depends --important "$1" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1
}

get_initramfs() {
  local source=$root/scripts/guest/init.c target=$guest_folder/initramfs.cpio.gz
  if up_to_date "$target" "$source" "$guest_folder/vmlinuz"; then return 0; fi
  need_guest_tools
  local tree=$guest_folder/initramfs
  rm -rf "$tree"
  mkdir -p "$tree/proc" "$tree/sys" "$tree/dev" "$tree/modules"
  # Not vectorised: an emulated guest pays more for vector instructions than it gains.
  gcc -O2 -fno-tree-vectorize -Wall -Wextra -Werror -static -pthread -o "$tree/init" "$source"
  strip "$tree/init"
  if [ -d "$guest_folder/modules" ]; then
    find "$guest_folder/modules" -name '*.ko' -exec cp {} "$tree/modules/" \;
    strip --strip-debug "$tree"/modules/*.ko 2>/dev/null || true
  fi
  (cd "$tree" && find . | LC_ALL=C sort | cpio --quiet -o -H newc) | gzip -1n >"$target.new"
  chmod 644 "$target.new"
  mv "$target.new" "$target"
}

get_boot_sector() {
  local source=$root/scripts/guest/boot-sector.S target=$guest_folder/boot-sector.bin
  if up_to_date "$target" "$source"; then return 0; fi
  need_guest_tools
  gcc -m32 -nostdlib -c -o "$guest_folder/boot-sector.o" "$source"
  ld -m elf_i386 -Ttext 0x7c00 -e _start -o "$guest_folder/boot-sector.elf" "$guest_folder/boot-sector.o"
  objcopy -O binary -j .text "$guest_folder/boot-sector.elf" "$target.new"
  [ "$(stat -c %s "$target.new")" -eq 512 ] || { echo "error: $source is not exactly one sector" >&2; return 2; }
  # Firmware does not boot from an AHCI disk (q35) of a single sector.
  truncate -s 1M "$target.new"
  mv "$target.new" "$target"
}
