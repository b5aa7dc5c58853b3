package dev.postcopy.dest.attach;

import dev.postcopy.linux.HostRefusal;
import dev.postcopy.linux.InjectedUserfaultfd;
import dev.postcopy.linux.LinuxException;
import dev.postcopy.linux.PidFd;
import dev.postcopy.linux.RemoteRange;
import dev.postcopy.linux.UnixSockets;
import dev.postcopy.linux.Userfaultfd;
import dev.postcopy.linux.abi.Errno;
import dev.postcopy.qmp.Qemu;
import java.util.List;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A userfaultfd that belongs to QEMU's address space, in the hands of the agent. QEMU keeps its own
 * copy of the descriptor: while that is open, a thread that touches a missing page waits, whatever
 * becomes of the agent. For the session's thread, but for {@link #userfaultfd()}.
 */
public final class QemuUserfaultfd implements AutoCloseable {

  private static final Logger log = LoggerFactory.getLogger(QemuUserfaultfd.class);

  private static final String DEVICE_NAME = "postcopy-userfaultfd-device";

  private final int pid;
  private final int numberInQemu;
  private final Userfaultfd userfaultfd;
  private final List<RemoteRange> ranges;

  private QemuUserfaultfd(
      int pid, int numberInQemu, Userfaultfd userfaultfd, List<RemoteRange> ranges) {
    this.pid = pid;
    this.numberInQemu = numberInQemu;
    this.userfaultfd = userfaultfd;
    this.ranges = ranges;
  }

  /**
   * Creates a userfaultfd inside QEMU, takes it, and registers the guest's RAM for missing pages.
   *
   * @throws HostRefusal where this host or this process does not allow it; nothing is left behind
   */
  public static QemuUserfaultfd create(int pid, PidFd pidFd, Qemu qemu, List<RemoteRange> ranges) {
    int inQemu = InjectedUserfaultfd.create(pid, new DeviceHandOver(qemu));
    log.info("userfaultfd {} created in QEMU, pid {}", inQemu, pid);
    try {
      Userfaultfd userfaultfd = Userfaultfd.attach(pidFd.takeDescriptor(inQemu));
      QemuUserfaultfd made = new QemuUserfaultfd(pid, inQemu, userfaultfd, ranges);
      made.register();
      return made;
    } catch (RuntimeException e) {
      closeInQemu(pid, inQemu);
      throw e;
    }
  }

  /**
   * Takes the userfaultfd again that an agent before us left in QEMU, as it is.
   *
   * @param number in QEMU
   * @throws LinuxException where QEMU is gone, or has closed it
   */
  public static QemuUserfaultfd retake(int pid, PidFd pidFd, int number, List<RemoteRange> ranges) {
    Userfaultfd userfaultfd = Userfaultfd.attach(pidFd.takeDescriptor(number));
    return new QemuUserfaultfd(pid, number, userfaultfd, ranges);
  }

  /** Its number in QEMU, by which it is found again. */
  public int numberInQemu() {
    return numberInQemu;
  }

  /**
   * Makes every thread that waits fault again: whoever read its message before may be gone, and
   * nobody would be told of it any more.
   */
  public void wakeAll() {
    for (RemoteRange range : ranges) {
      userfaultfd.wake(range.start(), range.byteLength());
    }
  }

  private void register() {
    int registered = 0;
    try {
      for (RemoteRange range : ranges) {
        userfaultfd.registerMissing(range);
        registered++;
      }
    } catch (RuntimeException e) {
      ranges.subList(0, registered).forEach(userfaultfd::unregister);
      userfaultfd.close();
      throw e;
    }
  }

  /** The descriptor, to read faults from and to place pages with. */
  public Userfaultfd userfaultfd() {
    return userfaultfd;
  }

  /**
   * Lets go of QEMU's RAM: from here on a missing page reads as zeros. Only when no page is
   * missing, or when the guest will not run here. Wakes every thread that waits.
   */
  public void release() {
    try {
      for (RemoteRange range : ranges) {
        userfaultfd.unregister(range);
      }
    } finally {
      userfaultfd.close();
      closeInQemu(pid, numberInQemu);
    }
  }

  /** Closes the agent's copy only; whoever waits for a page goes on waiting. */
  @Override
  public void close() {
    userfaultfd.close();
  }

  /** With nothing registered it is of no consequence there: a debugger may be in the way. */
  private static void closeInQemu(int pid, int number) {
    try {
      int result = InjectedUserfaultfd.close(pid, number);
      if (result < 0) {
        log.warn("closing userfaultfd {} in QEMU: {}", number, Errno.name(-result));
      }
    } catch (HostRefusal | LinuxException e) {
      log.warn("userfaultfd {} stays open in QEMU, without memory: {}", number, e.getMessage());
    }
  }

  private record DeviceHandOver(Qemu qemu) implements InjectedUserfaultfd.HandOver {
    @Override
    public void give(int descriptor) {
      qemu.giveDescriptor(DEVICE_NAME, descriptor, UnixSockets::sendWithDescriptor);
    }

    @Override
    public void takeBack() {
      qemu.closeDescriptor(DEVICE_NAME);
    }
  }
}
