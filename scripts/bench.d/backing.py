"""Memory of this host that its own hypervisor, where there is one, has given it already.

Where the host is a virtual machine whose free pages are reported to its hypervisor (CONFIG_PAGE_REPORTING), a page that
was free for some seconds costs a fault there at its first touch: 10 µs and more, where copying a page costs 1 µs. Who
migrates right after somebody else gets pages that were just used, and the others pay. So each migration is given as much
memory as it will need that was touched a moment before.
"""

import ctypes
import os

import lab

MIB = 1 << 20
PAGE = 4096
# Only whole free blocks of the largest order are reported, 4 MiB and more: one page in each 2 MiB that is not free keeps
# the rest from growing together.
CRUMB_EVERY = 2 * MIB
FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE = 1, 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def touch(stack, folder, mib):
    """Uses `mib` MiB of memory and gives it back but for a crumb here and there, which stays as long as `stack`."""
    path = lab.SHARED_MEMORY / f"{folder.name}-crumbs"
    stack.callback(path.unlink, missing_ok=True)
    piece = bytes([1]) * MIB
    with open(path, "w+b", buffering=0) as file:
        for _ in range(mib):
            file.write(piece)
        for at in range(0, mib * MIB, CRUMB_EVERY):
            _punch(file.fileno(), at + PAGE, CRUMB_EVERY - PAGE)


def _punch(fd, start, length):
    if _libc.fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, start, length) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
