package dev.postcopy.control;

import dev.postcopy.cli.Refusal;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import io.netty.channel.Channel;
import io.netty.channel.ChannelFutureListener;
import java.nio.charset.StandardCharsets;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** What is said to one who gave a command; from any thread, in order for each. */
public final class Answers {

  /** The field of the answer that says that a command is not carried out, and why. */
  public static final String REFUSED = "refused";

  private final Channel channel;

  Answers(Channel channel) {
    this.channel = channel;
  }

  /** One of several; lost where the other end does not read, or is gone. */
  public void send(ObjectNode answer) {
    if (channel.isWritable()) {
      channel.writeAndFlush(line(answer), channel.voidPromise());
    }
  }

  /** The last one. */
  public void last(ObjectNode answer) {
    channel.writeAndFlush(line(answer)).addListener(ChannelFutureListener.CLOSE);
  }

  /** The last one: it was done. */
  public void done() {
    last(JsonNodeFactory.instance.objectNode().put("done", true));
  }

  /** The last one: it will not be done. */
  public void refuse(Refusal refusal) {
    last(JsonNodeFactory.instance.objectNode().put(REFUSED, refusal.getMessage()));
  }

  /** Whether nobody listens any more. */
  public boolean isGone() {
    return !channel.isActive();
  }

  private static ByteBuf line(ObjectNode answer) {
    return Unpooled.copiedBuffer(answer + "\n", StandardCharsets.UTF_8);
  }
}
