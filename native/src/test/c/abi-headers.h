/* Where the names of dev.postcopy.linux.abi come from. AbiProbe adds a main() that prints their values. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>
#include <linux/falloc.h>
#include <linux/magic.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/vfs.h>
#include <sys/wait.h>

/* The C library spells this one differently from the kernel. */
#define CMSG_LEN_OF_INT CMSG_LEN(sizeof(int))
#define CMSG_SPACE_OF_INT CMSG_SPACE(sizeof(int))

/* Not in any installed header: __USER_CS of arch/x86/include/asm/segment.h, read from the register itself. */
static inline long user_cs(void) {
  long cs;
  __asm__("mov %%cs, %0" : "=r"(cs));
  return cs;
}
#define USER_CS user_cs()

/* Linux 6.1. */
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif
