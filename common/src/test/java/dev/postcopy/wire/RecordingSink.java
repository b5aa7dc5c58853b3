package dev.postcopy.wire;

import static org.assertj.core.api.Assertions.assertThat;

import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufUtil;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Notes what is delivered, and checks for every frame what a sink may rely on: bounds, lengths, and
 * silence after the connection is gone.
 */
class RecordingSink implements FrameSink {

  final List<String> frames = new ArrayList<>();
  @Nullable String closeCause;

  static String pages(int first, int count, byte[] content) {
    return "PAGES %d+%d %08x".formatted(first, count, Arrays.hashCode(content));
  }

  static String received(int first, int count, byte[] bits) {
    return "RECEIVED %d+%d %08x".formatted(first, count, Arrays.hashCode(bits));
  }

  static String discard(int first, int count, byte[] bits) {
    return "DISCARD %d+%d %08x".formatted(first, count, Arrays.hashCode(bits));
  }

  static String deviceState(byte[] content) {
    return "DEVICE_STATE %d %08x".formatted(content.length, Arrays.hashCode(content));
  }

  @Override
  public void onRequest(int first, int count) {
    requireRun(first, count, 64);
    note("REQUEST " + first + "+" + count);
  }

  @Override
  public void onPages(int first, int count, ByteBuf pages) {
    requireRun(first, count, 64);
    assertThat(pages.readableBytes()).as("bytes of %d pages", count).isEqualTo(count * 4096);
    note(pages(first, count, ByteBufUtil.getBytes(pages)));
  }

  @Override
  public void onZero(int first, int count) {
    requireRun(first, count, Integer.MAX_VALUE);
    note("ZERO " + first + "+" + count);
  }

  @Override
  public void onReceived(int first, int count, ByteBuf bits) {
    requireRun(first, count, 1 << 20);
    assertThat(bits.readableBytes()).as("bytes of %d bits", count).isEqualTo((count + 7) / 8);
    note(received(first, count, ByteBufUtil.getBytes(bits)));
  }

  @Override
  public void onDiscard(int first, int count, ByteBuf bits) {
    requireRun(first, count, 1 << 20);
    assertThat(bits.readableBytes()).as("bytes of %d bits", count).isEqualTo((count + 7) / 8);
    note(discard(first, count, ByteBufUtil.getBytes(bits)));
  }

  @Override
  public void onAck(long acknowledged) {
    assertThat(acknowledged).as("acknowledged frames").isNotNegative();
    note("ACK " + acknowledged);
  }

  @Override
  public void onPing(long stamp) {
    assertThat(stamp).as("stamp").isNotNegative();
    note("PING " + stamp);
  }

  @Override
  public void onPong(long stamp) {
    assertThat(stamp).as("stamp").isNotNegative();
    note("PONG " + stamp);
  }

  @Override
  public void onDeviceState(ByteBuf piece) {
    assertThat(piece.readableBytes()).as("bytes of device state").isLessThanOrEqualTo(65536);
    note(deviceState(ByteBufUtil.getBytes(piece)));
  }

  @Override
  public void onControl(ControlFrame frame) {
    if (frame instanceof ControlFrame.Hello hello) {
      assertThat(hello.blocks().size()).as("announced blocks").isLessThanOrEqualTo(256);
    }
    note(frame.toString());
  }

  @Override
  public void onClosed(CloseCause cause) {
    assertThat(closeCause).as("the cause of an earlier onClosed").isNull();
    closeCause = cause.text();
  }

  /** Why the connection was closed; "" where it was not. */
  String cause() {
    return closeCause == null ? "" : closeCause;
  }

  private void note(String frame) {
    assertThat(closeCause).as("closed before " + frame).isNull();
    frames.add(frame);
  }

  private static void requireRun(int first, int count, int limit) {
    assertThat(first).as("first page").isNotNegative();
    assertThat(count).as("pages in a run").isBetween(1, limit);
  }
}
