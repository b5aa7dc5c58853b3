package dev.postcopy.transport;

import dev.postcopy.memory.RamLayout;
import dev.postcopy.wire.Wire;
import io.netty.buffer.ByteBufAllocator;
import io.netty.channel.IoEventLoop;
import io.netty.channel.IoEventLoopGroup;
import java.nio.file.Path;
import java.util.List;

/**
 * The event loops of a migration at either side, each a thread: monitor, demand, bulk. Each
 * migration has its own, so that none waits behind the pages of another.
 */
public final class MigrationLoops {

  /** A number, a page, and as many pages as are pushed at a time. */
  private static final int[] FRAME_BODY_BYTES = {
    Long.BYTES,
    Wire.RUN_BYTES + RamLayout.PAGE_BYTES,
    Wire.RUN_BYTES + Wire.PUSHED_PAGES_PER_FRAME * RamLayout.PAGE_BYTES
  };

  private final IoEventLoopGroup control;
  private final IoEventLoopGroup demand;
  private final IoEventLoopGroup bulk;
  private volatile boolean started;

  /**
   * @param qmpSocket its file's name is part of the threads' names
   */
  public MigrationLoops(Path qmpSocket) {
    Path vm = qmpSocket.getFileName();
    control = EventLoops.named("control " + vm, 1);
    demand = EventLoops.named("demand " + vm, 1);
    bulk = EventLoops.named("bulk " + vm, 1);
  }

  /**
   * To be called on the session's thread: what the loops log is about what that thread is about.
   *
   * @param raisePriority run by each loop that a vCPU waits for
   */
  public void start(Runnable raisePriority) {
    // What they do a vCPU waits for, or the guest does while it is stopped; what bulk does nobody.
    demand.execute(raisePriority);
    control.execute(raisePriority);
    demand.execute(MigrationLoops::takeBuffers);
    bulk.execute(MigrationLoops::takeBuffers);
    started = true;
  }

  /**
   * The first buffer of a size takes its thread up to a millisecond: the allocator makes memory for
   * many of them then (Netty: AdaptivePoolingAllocator.SizeClassChunkController). A stopped guest
   * would wait for that.
   */
  private static void takeBuffers() {
    for (int bodyBytes : FRAME_BODY_BYTES) {
      ByteBufAllocator.DEFAULT.directBuffer(Wire.HEADER_BYTES + bodyBytes).release();
    }
  }

  /**
   * All of them, none before {@link #start}: whoever gives a loop its first task decides what it
   * logs about. From any thread.
   */
  public List<IoEventLoop> all() {
    return started ? List.of(control.next(), demand.next(), bulk.next()) : List.of();
  }

  public IoEventLoop control() {
    return control.next();
  }

  public IoEventLoop demand() {
    return demand.next();
  }

  public IoEventLoop bulk() {
    return bulk.next();
  }

  public void shutDown() {
    EventLoops.shutDown(demand);
    EventLoops.shutDown(bulk);
    EventLoops.shutDown(control);
  }
}
