package dev.postcopy.source.page;

import dev.postcopy.memory.RamLayout;
import dev.postcopy.source.memory.GuestMemory;
import dev.postcopy.transport.Connection;
import dev.postcopy.wire.ProtocolException;

/**
 * Answers the destination's requests, on the demand connection's event loop.
 *
 * <p>Until the guest has stopped its pages are not final, and while the destination does not read
 * its answers no more of them are made: a page that is asked for meanwhile waits here.
 */
public final class RequestHandler {

  private static final int USUAL_WAITING_PAGES = 4096;

  /**
   * Above what any QEMU waits for: a page for each of its threads, and 64 for each of at most 4096
   * vCPUs, which go on with something else meanwhile (Linux: ASYNC_PF_PER_VCPU, KVM_MAX_VCPUS).
   */
  private static final int MAX_WAITING_PAGES = 1 << 19;

  /**
   * While the device state is loaded its few faults come one after the other, often on neighbours
   * (option ROMs, virtio rings), and nothing else is on the link.
   */
  private static final int PAGES_AHEAD = 7;

  private final RamLayout layout;
  private final SentPages sent;
  private final PageWriter writer;
  private final Connection connection;
  private int[] waitingPages = new int[USUAL_WAITING_PAGES];
  private int firstWaiting;
  private int waiting;
  private boolean serving;
  private boolean ahead = true;
  private boolean answering;

  public RequestHandler(GuestMemory memory, SentPages sent, Connection demand) {
    this.layout = memory.layout();
    this.sent = sent;
    this.writer = new PageWriter(memory, sent, demand);
    this.connection = demand;
  }

  /** The guest has stopped: its pages are final and may be sent. On the event loop. */
  public void startServing() {
    serving = true;
    answerWaiting();
  }

  /**
   * Pages that are likely to be asked for are sent before they are. On the event loop.
   *
   * @param pages some, each in the guest's RAM; those that were sent before are left out
   */
  public void sendUnasked(int[] pages) {
    for (int page : pages) {
      if (!sent.isClaimed(page)) {
        await(page);
      }
    }
    answerWaiting();
  }

  /** From now on the pages behind a request are pushed by others. On the event loop. */
  public void stopReadingAhead() {
    ahead = false;
  }

  /** Pages [first, first+count) are wanted. {@link #onBatchEnd} sends the answers off. */
  public void onRequest(int first, int count) {
    if (!layout.isRunInOneBlock(first, count)) {
      throw new ProtocolException("request for pages %d+%d".formatted(first, count));
    }
    if (serving) {
      sent.noteFault(first);
    }
    for (int page = first; page < first + count; page++) {
      if (mayAnswer()) {
        writer.answer(page);
      } else {
        await(page);
      }
    }
    if (ahead && mayAnswer()) {
      sendAhead(first + count);
    }
  }

  private boolean mayAnswer() {
    return serving && waiting == 0 && connection.isWritable();
  }

  private void sendAhead(int from) {
    for (int page = from; page < from + PAGES_AHEAD; page++) {
      if (layout.isRunInOneBlock(from - 1, page - from + 2) && !sent.isClaimed(page)) {
        writer.answer(page);
      }
    }
  }

  /**
   * All requests that had arrived were answered, or wait. Of a peer that asks and does not read the
   * answers no more is read, until it does.
   */
  public void onBatchEnd() {
    answerWaiting();
  }

  /** The peer reads its answers again. */
  public void onWritable() {
    answerWaiting();
  }

  private void answerWaiting() {
    // Flushing may make the socket writable, which calls us again from within.
    if (answering) {
      return;
    }
    answering = true;
    do {
      while (serving && waiting > 0 && connection.isWritable()) {
        writer.answer(waitingPages[firstWaiting]);
        firstWaiting = (firstWaiting + 1) % waitingPages.length;
        waiting--;
      }
      connection.flush();
    } while (serving && waiting > 0 && connection.isWritable());
    answering = false;
    connection.setReading(connection.isWritable());
  }

  private void await(int page) {
    if (waiting == MAX_WAITING_PAGES) {
      throw new ProtocolException(
          "more than %d requested pages wait for their answers".formatted(MAX_WAITING_PAGES));
    }
    if (waiting == waitingPages.length) {
      makeRoom();
    }
    waitingPages[(firstWaiting + waiting) % waitingPages.length] = page;
    waiting++;
  }

  /** Twice as much; the first that waits comes first. */
  private void makeRoom() {
    int[] larger = new int[2 * waiting];
    int behindFirst = waiting - firstWaiting;
    System.arraycopy(waitingPages, firstWaiting, larger, 0, behindFirst);
    System.arraycopy(waitingPages, 0, larger, behindFirst, firstWaiting);
    waitingPages = larger;
    firstWaiting = 0;
  }
}
