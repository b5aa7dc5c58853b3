package dev.postcopy.it;

import java.io.Closeable;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.ConnectException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;

/**
 * Stands between the agents and passes their frames on, so that a test can stop a migration at a
 * frame of its choice, damage one, or cut the connections.
 */
final class FrameProxy implements AutoCloseable {

  /** The types of frames, by the bytes of docs/protocol.md. */
  enum Type {
    HELLO(1),
    READY(4),
    DEVICE_STATE(5),
    DEVICE_STATE_END(6),
    LOADED(7),
    COMMIT(8),
    RUNNING(9),
    REQUEST(10),
    PAGES(11),
    COMPLETE(15),
    CONFIRMED(16),
    ABORT(17);

    final int code;

    Type(int code) {
      this.code = code;
    }
  }

  /**
   * A frame on its way.
   *
   * @param code its type
   * @param bulk whether it is on the bulk connection
   * @param index how many frames of its type came before it on this connection
   */
  record Frame(int code, boolean bulk, int index) {
    boolean is(Type type) {
      return code == type.code;
    }

    /** Many pages were pushed, and many are not yet. */
    boolean isMidDrain() {
      return bulk && is(Type.PAGES) && index == 200;
    }
  }

  private static final int HEADER_BYTES = 12;
  private static final int LENGTH_OFFSET = 4;

  /** Where HELLO says what its connection is for: behind version and session. */
  private static final int ROLE_OFFSET = HEADER_BYTES + 2 + 16;

  private static final int BULK_ROLE = 1;

  private final int destinationPort;
  private final ServerSocket listening;
  private final List<Socket> sockets = new ArrayList<>();
  private final CountDownLatch held = new CountDownLatch(1);
  private final CountDownLatch released = new CountDownLatch(1);
  private volatile Predicate<Frame> holdAt = frame -> false;
  private volatile Predicate<Frame> damage = frame -> false;
  private volatile Predicate<Frame> lose = frame -> false;
  private volatile boolean losesEach;

  private FrameProxy(int destinationPort) throws IOException {
    this.destinationPort = destinationPort;
    this.listening = new ServerSocket(0, 16, InetAddress.getLoopbackAddress());
    Thread.ofPlatform().daemon().name("proxy").start(this::accept);
  }

  static FrameProxy to(int destinationPort) {
    try {
      return new FrameProxy(destinationPort);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  int port() {
    return listening.getLocalPort();
  }

  /** The first such frame waits, and all behind it on its connection, until {@link #release}. */
  FrameProxy holdAt(Predicate<Frame> which) {
    holdAt = which;
    return this;
  }

  FrameProxy holdAt(Type type) {
    return holdAt(frame -> frame.is(type));
  }

  /** Flips a bit of the last byte of the first such frame. */
  FrameProxy damageOnce(Predicate<Frame> which) {
    damage = which;
    return this;
  }

  /** Closes the connection of the first such frame instead of passing it on. */
  FrameProxy loseOnce(Type type) {
    lose = frame -> frame.is(type);
    return this;
  }

  /** Closes the connection of each such frame instead of passing it on. */
  FrameProxy loseEach(Type type) {
    losesEach = true;
    return loseOnce(type);
  }

  /** Waits until a frame is held. */
  void awaitHeld(Object migration) {
    try {
      if (!held.await(30, TimeUnit.SECONDS)) {
        throw new AssertionError("the frame to hold does not come; " + migration);
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException(e);
    }
  }

  void release() {
    released.countDown();
  }

  /** Breaks all connections, as a network does. */
  void cut() {
    synchronized (sockets) {
      sockets.forEach(FrameProxy::close);
    }
  }

  private void accept() {
    try {
      while (true) {
        Socket source = listening.accept();
        Socket destination;
        try {
          destination = new Socket(InetAddress.getLoopbackAddress(), destinationPort);
        } catch (ConnectException e) {
          close(source);
          continue;
        }
        source.setTcpNoDelay(true);
        destination.setTcpNoDelay(true);
        synchronized (sockets) {
          sockets.add(source);
          sockets.add(destination);
        }
        Pair pair = new Pair();
        Thread.ofPlatform().daemon().name("proxy >").start(() -> pump(source, destination, pair));
        Thread.ofPlatform().daemon().name("proxy <").start(() -> pump(destination, source, pair));
      }
    } catch (IOException e) {
      cut();
    }
  }

  /** The two sockets of a connection: what it is for, once its HELLO has come by, and its ends. */
  private static final class Pair {
    final AtomicInteger ended = new AtomicInteger();
    volatile boolean bulk;
  }

  private void pump(Socket from, Socket to, Pair pair) {
    try {
      passOn(from, to, pair);
      // Who ends his output may still listen: a reset would take his last frame from the other.
      to.shutdownOutput();
      if (pair.ended.incrementAndGet() < 2) {
        return;
      }
    } catch (IOException e) {
      // One side is gone; closing tells the other.
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    close(from);
    close(to);
  }

  /** Returns where {@code from} ends. */
  private void passOn(Socket from, Socket to, Pair pair) throws IOException, InterruptedException {
    int[] seen = new int[256];
    DataInputStream in = new DataInputStream(from.getInputStream());
    OutputStream out = to.getOutputStream();
    for (byte[] bytes = next(in); bytes != null; bytes = next(in)) {
      int code = bytes[2] & 0xff;
      if (code == Type.HELLO.code) {
        pair.bulk = bytes[ROLE_OFFSET] == BULK_ROLE;
      }
      Frame frame = new Frame(code, pair.bulk, seen[code]++);
      if (released.getCount() > 0 && holdAt.test(frame)) {
        held.countDown();
        released.await();
      }
      if (damage.test(frame)) {
        damage = other -> false;
        bytes[bytes.length - 1] ^= 1;
      }
      if (lose.test(frame)) {
        if (!losesEach) {
          lose = other -> false;
        }
        throw new EOFException("lost: " + frame);
      }
      out.write(bytes);
    }
  }

  private static byte @Nullable [] next(DataInputStream in) throws IOException {
    byte[] header = new byte[HEADER_BYTES];
    try {
      in.readFully(header);
    } catch (EOFException e) {
      return null;
    }
    int bodyBytes = ByteBuffer.wrap(header).getInt(LENGTH_OFFSET);
    byte[] bytes = Arrays.copyOf(header, HEADER_BYTES + bodyBytes);
    in.readFully(bytes, HEADER_BYTES, bodyBytes);
    return bytes;
  }

  private static void close(Closeable socket) {
    try {
      socket.close();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Override
  public void close() {
    release();
    close(listening);
    cut();
  }
}
