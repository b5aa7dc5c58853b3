package dev.postcopy.source.session;

import dev.postcopy.transport.EventLoops;
import io.netty.channel.IoEventLoopGroup;

/** The event loops of a migration at the source, each a thread: monitor, demand, bulk. */
final class SourceLoops {

  private final IoEventLoopGroup control = EventLoops.named("control", 1);
  private final IoEventLoopGroup demand = EventLoops.named("demand", 1);
  private final IoEventLoopGroup bulk = EventLoops.named("bulk", 1);

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
