package dev.postcopy.wire;

import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufUtil;
import io.netty.buffer.UnpooledByteBufAllocator;
import java.io.ByteArrayOutputStream;

/** Writes what it is given as frames again. */
final class RewritingSink implements FrameSink {

  private final FrameWriter writer = new FrameWriter(new UnpooledByteBufAllocator(true, true));
  private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
  private boolean unreadable;

  @Override
  public void onRequest(int first, int count) {
    add(writer.request(first, count));
  }

  @Override
  public void onPages(int first, int count, ByteBuf pages) {
    add(writer.seal(writer.beginPages(first, count).writeBytes(pages)));
  }

  @Override
  public void onZero(int first, int count) {
    add(writer.zero(first, count));
  }

  @Override
  public void onReceived(int first, int count, ByteBuf bits) {
    add(writer.seal(writer.beginReceived(first, count).writeBytes(bits)));
  }

  @Override
  public void onDiscard(int first, int count, ByteBuf bits) {
    add(writer.seal(writer.beginDiscard(first, count).writeBytes(bits)));
  }

  @Override
  public void onAck(long frames) {
    add(writer.ack(frames));
  }

  @Override
  public void onPing(long stamp) {
    add(writer.ping(stamp));
  }

  @Override
  public void onPong(long stamp) {
    add(writer.pong(stamp));
  }

  @Override
  public void onDeviceState(ByteBuf piece) {
    add(writer.seal(writer.beginDeviceState(piece.readableBytes()).writeBytes(piece)));
  }

  @Override
  public void onControl(ControlFrame frame) {
    if ((frame instanceof ControlFrame.Hello hello && hello.version() != Wire.VERSION)
        || (frame instanceof ControlFrame.Welcome welcome && welcome.version() != Wire.VERSION)) {
      unreadable = true; // the rest of it is another version's; what follows cannot be compared
      return;
    }
    add(writer.control(frame));
  }

  @Override
  public void onClosed(CloseCause cause) {}

  byte[] written() {
    return bytes.toByteArray();
  }

  private void add(ByteBuf frame) {
    if (!unreadable) {
      bytes.writeBytes(ByteBufUtil.getBytes(frame));
    }
    frame.release();
  }
}
