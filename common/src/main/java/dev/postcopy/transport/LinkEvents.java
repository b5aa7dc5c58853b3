package dev.postcopy.transport;

import java.util.Queue;
import java.util.function.Consumer;
import java.util.function.Predicate;

/**
 * What the event loops of one pair of connections tell a session. When the pair is given up nothing
 * of it reaches the session any more, also not what was said before and not heard yet.
 */
public final class LinkEvents<E> implements Consumer<E> {

  private final Queue<E> queue;
  private final Predicate<E> ofLink;
  private boolean open = true;

  /**
   * @param queue the session's, for all that happens
   * @param ofLink which of its events come from a link
   */
  public LinkEvents(Queue<E> queue, Predicate<E> ofLink) {
    this.queue = queue;
    this.ofLink = ofLink;
  }

  @Override
  public synchronized void accept(E event) {
    if (open) {
      queue.add(event);
    }
  }

  /** From here on the session hears nothing of this link. */
  public synchronized void close() {
    open = false;
    queue.removeIf(ofLink);
  }
}
