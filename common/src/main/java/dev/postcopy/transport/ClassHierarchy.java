package dev.postcopy.transport;

import io.netty.channel.Channel;
import io.netty.channel.epoll.Epoll;
import io.netty.channel.epoll.EpollServerDomainSocketChannel;
import io.netty.channel.epoll.EpollServerSocketChannel;
import io.netty.channel.epoll.EpollSocketChannel;
import io.netty.handler.codec.json.JsonObjectDecoder;
import io.netty.handler.ssl.SslHandler;
import io.netty.handler.timeout.IdleStateHandler;
import java.lang.foreign.MemorySegment;
import java.util.List;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Loads what a migration uses and its warm-up does not. The compiler takes a method for the only
 * one of its name while no other class that has one is loaded, and throws away all code that was
 * built on that when one is: the whole way of a page, a fraction of a second before the guest
 * stops.
 */
public final class ClassHierarchy {

  private static final Logger log = LoggerFactory.getLogger(ClassHierarchy.class);

  private ClassHierarchy() {}

  /** To be called before anything is warmed up. */
  public static void complete() {
    Epoll.ensureAvailability();
    // The warm-up's connections are pairs of unix sockets.
    discard(new EpollSocketChannel());
    discard(new EpollServerSocketChannel());
    discard(new EpollServerDomainSocketChannel());
    MemorySegment onHeap = MemorySegment.ofArray(new byte[1]);
    List<Class<?>> handlers =
        List.of(IdleStateHandler.class, JsonObjectDecoder.class, SslHandler.class);
    log.debug("loaded {} and {}", onHeap, handlers);
  }

  private static void discard(Channel channel) {
    channel.unsafe().closeForcibly();
  }
}
