package dev.postcopy.dest.fault;

import dev.postcopy.dest.attach.GuestRam;
import dev.postcopy.linux.FaultBatch;
import dev.postcopy.linux.Userfaultfd;
import dev.postcopy.linux.abi.Uffd;
import io.netty.channel.IoEvent;
import io.netty.channel.IoEventLoop;
import io.netty.channel.IoRegistration;
import io.netty.channel.epoll.EpollIoHandle;
import io.netty.channel.epoll.EpollIoOps;
import io.netty.channel.unix.FileDescriptor;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Reads faults from userfaultfd on the event loop of the demand connection: the request is written
 * by the thread that read the fault, and no other thread has to be woken for it.
 */
public final class FaultReader {

  private static final Logger log = LoggerFactory.getLogger(FaultReader.class);
  private static final int BATCH = 64;

  private final IoEventLoop loop;
  private final Handle handle;
  private final IoRegistration registration;

  private FaultReader(IoEventLoop loop, Handle handle, IoRegistration registration) {
    this.loop = loop;
    this.handle = handle;
    this.registration = registration;
  }

  /**
   * Begins to serve faults on {@code loop}.
   *
   * @param onFailure told, on the loop, why faults cannot be served any more
   */
  public static FaultReader start(
      IoEventLoop loop,
      Userfaultfd userfaultfd,
      GuestRam ram,
      PageRequester requester,
      Consumer<Throwable> onFailure) {
    Handle handle = new Handle(userfaultfd, ram, requester, onFailure);
    IoRegistration registration = loop.register(handle).syncUninterruptibly().getNow();
    registration.submit(EpollIoOps.EPOLLIN);
    return new FaultReader(loop, handle, registration);
  }

  /**
   * Reads no more; whoever faults from here on waits. Not for the event loop: it returns when the
   * loop has let go of the descriptor. Closed earlier, its number could be another's by then, and
   * the loop would let go of that one.
   */
  public void stop() {
    loop.submit(registration::cancel).syncUninterruptibly();
  }

  /** Fault messages that were read. */
  public long faults() {
    return handle.faults.get();
  }

  private static final class Handle implements EpollIoHandle {

    private final Userfaultfd userfaultfd;
    private final FileDescriptor descriptor;
    private final GuestRam ram;
    private final PageRequester requester;
    private final Consumer<Throwable> onFailure;
    private final FaultBatch batch = new FaultBatch(BATCH);
    private final AtomicLong faults = new AtomicLong();

    Handle(
        Userfaultfd userfaultfd,
        GuestRam ram,
        PageRequester requester,
        Consumer<Throwable> onFailure) {
      this.userfaultfd = userfaultfd;
      this.descriptor = new FileDescriptor(userfaultfd.number());
      this.ram = ram;
      this.requester = requester;
      this.onFailure = onFailure;
    }

    @Override
    public FileDescriptor fd() {
      return descriptor;
    }

    /** Readable; a read may find nothing all the same, where a waker came first. */
    @Override
    @SuppressWarnings("CatchingUnchecked") // somebody has to be told of any end of the reading
    public void handle(IoRegistration registration, IoEvent event) {
      try {
        readAll();
      } catch (Throwable e) {
        registration.cancel();
        onFailure.accept(e);
      }
    }

    private void readAll() {
      int count;
      RuntimeException failure = null;
      do {
        count = userfaultfd.read(batch);
        long nanos = System.nanoTime();
        faults.addAndGet(count);
        for (int i = 0; i < count; i++) {
          try {
            onMessage(i, nanos);
          } catch (RuntimeException e) {
            // Those behind it were read, and the kernel does not tell of them again.
            failure = failure == null ? e : failure;
          }
        }
      } while (count == batch.capacity() && failure == null);
      requester.onBatchEnd();
      if (failure != null) {
        throw failure;
      }
    }

    private void onMessage(int i, long nanos) {
      int page = batch.event(i) == Uffd.UFFD_EVENT_PAGEFAULT ? ram.pageOf(batch.address(i)) : -1;
      if (page < 0) {
        // Only our ranges are registered and no other events are enabled.
        log.error("event {} at {} is not ours", batch.event(i), Long.toHexString(batch.address(i)));
        return;
      }
      requester.onFault(page, batch.threadId(i), nanos);
    }

    /** The descriptor is the userfaultfd's to close. */
    @Override
    public void close() {}
  }
}
