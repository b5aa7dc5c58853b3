package dev.postcopy.dest.page;

import dev.postcopy.dest.attach.GuestRam;
import dev.postcopy.linux.PageCopier;
import dev.postcopy.linux.Userfaultfd;
import dev.postcopy.linux.abi.Errno;
import dev.postcopy.memory.RamLayout;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.VarHandle;
import java.util.concurrent.TimeUnit;

/**
 * Makes pages present in QEMU and wakes who waits for them: the whole policy for what UFFDIO_COPY
 * may answer is in this class. Owned by one event loop; two placers may work on the same pages.
 *
 * <p>The order is what keeps a vCPU from hanging: copy without waking, publish the received bit,
 * full fence, wake. A thread that faults before the copy is in the kernel's queue when the wake
 * looks there. A fault that {@link dev.postcopy.dest.fault.PageRequester} handles at the same time
 * first marks the page as requested and then, behind a barrier of its own, looks at the bits again;
 * so either it sees the page, or this side's wake comes after its mark. Woken too often is
 * harmless, the thread faults again; woken too seldom is a guest that hangs.
 */
public final class PagePlacer {

  private static final int PAGE = RamLayout.PAGE_BYTES;
  private static final MemorySegment ZERO_PAGE = Arena.global().allocate(PAGE, PAGE);

  /** The mm can be busy with mmap or fork for a while; for this long it cannot. */
  private static final long EAGAIN_PATIENCE_NANOS = TimeUnit.SECONDS.toNanos(30);

  private final GuestRam ram;
  private final PageStates pages;
  private final PageCopier copier;
  private final PlacementListener listener;

  public PagePlacer(
      GuestRam ram, PageStates pages, Userfaultfd userfaultfd, PlacementListener listener) {
    this.ram = ram;
    this.pages = pages;
    this.copier = userfaultfd.newCopier();
    this.listener = listener;
  }

  /**
   * Places pages [first, first+count) of one block and wakes their waiters. A page that was placed
   * before is left alone: the guest may have written to it.
   *
   * @param sourceAddress where the content is in this process, count × 4096 bytes, unaligned
   * @return how many pages were new
   * @throws PlacingFailedException where the kernel will not have it
   */
  int place(int first, int count, long sourceAddress) {
    long arrivedNanos = System.nanoTime();
    int newPages = 0;
    int end = first + count;
    try {
      int page = pages.nextNotReceived(first, end);
      while (page < end) {
        int runEnd = pages.nextReceived(page, end);
        long source = sourceAddress + (long) (page - first) * PAGE;
        newPages += copy(page, runEnd - page, source);
        page = pages.nextNotReceived(runEnd, end);
      }
    } finally {
      // Also where a later page of the run could not be placed: the earlier ones are there.
      wake(first, count, arrivedNanos);
    }
    return newPages;
  }

  /**
   * Makes a page present that is known to be zero, and wakes its waiters. Also for a page that was
   * placed before and is faulted on again: it is present (a lost race), or the guest's balloon gave
   * it back, and then it reads as zeros.
   */
  public void placeZero(int page) {
    long arrivedNanos = System.nanoTime();
    copy(page, 1, ZERO_PAGE.address());
    wake(page, 1, arrivedNanos);
  }

  private int copy(int first, int count, long sourceAddress) {
    long destination = ram.addressOf(first);
    int newPages = 0;
    int done = 0;
    long giveUpNanos = 0;
    while (done < count) {
      long offset = (long) done * PAGE;
      int result =
          copier.copy(
              destination + offset, sourceAddress + offset, (long) (count - done) * PAGE, false);
      int copied = (int) (copier.copiedBytes() / PAGE);
      newPages += pages.publishReceived(first + done, copied);
      done += copied;
      switch (-result) {
        case 0 -> {}
        case Errno.EEXIST -> {
          // Present: the other placer came first. Nobody was woken for it, we shall.
          newPages += pages.publishReceived(first + done, 1);
          done++;
        }
        case Errno.ENOMEM, Errno.ENOSPC -> {
          // The kernel looks for room before it looks for the page (mm/shmem.c): on a tmpfs that is
          // full a page that is present cannot be told from one that is missing, but by its bit.
          if (!pages.isReceived(first + done)) {
            throw failure(-result, first + done);
          }
          done++;
        }
        case Errno.EAGAIN -> {
          // Either a present page ended the run, and the next round meets it; or the mm is
          // changing.
          if (copied == 0) {
            giveUpNanos = pauseUntil(giveUpNanos, first + done);
          }
        }
        default -> throw failure(-result, first + done);
      }
    }
    return newPages;
  }

  private static long pauseUntil(long giveUpNanos, int page) {
    long now = System.nanoTime();
    if (giveUpNanos == 0) {
      return now + EAGAIN_PATIENCE_NANOS;
    }
    if (now > giveUpNanos) {
      throw new PlacingFailedException("page " + page + ": QEMU's address space stays busy", false);
    }
    Thread.onSpinWait();
    return giveUpNanos;
  }

  private static PlacingFailedException failure(int errno, int page) {
    return new PlacingFailedException(
        switch (errno) {
          case Errno.ENOMEM, Errno.ENOSPC ->
              "the tmpfs of the guest's RAM is full (%s at page %d)"
                  .formatted(Errno.name(errno), page);
          case Errno.ESRCH -> "QEMU is gone";
          case Errno.ENOENT -> "page %d is not registered any more".formatted(page);
          default -> "UFFDIO_COPY of page %d: %s".formatted(page, Errno.name(errno));
        },
        errno == Errno.ENOMEM || errno == Errno.ENOSPC);
  }

  private void wake(int first, int count, long arrivedNanos) {
    long placedNanos = System.nanoTime();
    VarHandle.fullFence();
    int result = copier.wake(ram.addressOf(first), (long) count * PAGE);
    if (result < 0) {
      throw failure(-result, first);
    }
    if (pages.nextRequested(first, first + count) < first + count) {
      listener.onPlaced(first, count, arrivedNanos, placedNanos);
    }
  }
}
