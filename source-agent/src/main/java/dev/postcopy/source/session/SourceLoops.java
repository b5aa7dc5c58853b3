package dev.postcopy.source.session;

import dev.postcopy.linux.ThreadPriority;
import dev.postcopy.transport.EventLoops;
import io.netty.channel.IoEventLoop;
import io.netty.channel.IoEventLoopGroup;
import java.nio.file.Path;
import java.util.List;

/** The event loops of a migration at the source, each a thread: monitor, demand, bulk. */
final class SourceLoops {

  private final IoEventLoopGroup control;
  private final IoEventLoopGroup demand;
  private final IoEventLoopGroup bulk;
  private volatile boolean started;

  /**
   * @param qmpSocket its file's name is part of the threads' names
   */
  SourceLoops(Path qmpSocket) {
    Path vm = qmpSocket.getFileName();
    control = EventLoops.named("control " + vm, 1);
    demand = EventLoops.named("demand " + vm, 1);
    bulk = EventLoops.named("bulk " + vm, 1);
  }

  /**
   * To be called on the session's thread: what the loops log is about what that thread is about.
   */
  void start() {
    // What they do a vCPU waits for, or the guest does while it is stopped; what bulk does nobody.
    demand.execute(ThreadPriority::raise);
    control.execute(ThreadPriority::raise);
    bulk.execute(() -> {});
    started = true;
  }

  /**
   * All of them, none before {@link #start}: whoever gives a loop its first task decides what it
   * logs about. From any thread.
   */
  List<IoEventLoop> all() {
    return started ? List.of(control.next(), demand.next(), bulk.next()) : List.of();
  }

  IoEventLoopGroup control() {
    return control;
  }

  IoEventLoopGroup demand() {
    return demand;
  }

  IoEventLoopGroup bulk() {
    return bulk;
  }

  void shutDown() {
    EventLoops.shutDown(demand);
    EventLoops.shutDown(bulk);
    EventLoops.shutDown(control);
  }
}
