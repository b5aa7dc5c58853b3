package dev.postcopy.transport;

import dev.postcopy.logging.LogFields;
import io.netty.channel.IoEventLoopGroup;
import io.netty.channel.MultiThreadIoEventLoopGroup;
import io.netty.channel.epoll.EpollIoHandler;
import io.netty.util.concurrent.DefaultThreadFactory;
import java.util.concurrent.TimeUnit;

/**
 * Event loops on epoll(7), each a thread with a name that tells what it does. What it logs is about
 * the migration that gives it its first task.
 */
public final class EventLoops {

  private EventLoops() {}

  /** {@code count} loops; a channel is served by one of them for its whole life. */
  public static IoEventLoopGroup named(String name, int count) {
    return new MultiThreadIoEventLoopGroup(
        count,
        new DefaultThreadFactory(name, true) {
          @Override
          public Thread newThread(Runnable loop) {
            return super.newThread(LogFields.carriedTo(loop));
          }
        },
        EpollIoHandler.newFactory());
  }

  /** Ends the loops without waiting for work that may still come. */
  public static void shutDown(IoEventLoopGroup group) {
    group.shutdownGracefully(0, 1, TimeUnit.SECONDS);
  }
}
