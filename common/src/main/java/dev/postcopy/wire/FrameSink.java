package dev.postcopy.wire;

import io.netty.buffer.ByteBuf;

/**
 * What a connection delivers, a method for each kind of frame, called on the connection's event
 * loop in the order of arrival. A side overrides what it expects; all else breaks the protocol.
 *
 * <p>Frames on the way of a fault come as plain numbers and a buffer, not as objects: nothing is
 * allocated for them.
 */
public interface FrameSink {

  /** Pages [first, first+count) are wanted. */
  default void onRequest(int first, int count) {
    throw unexpected("REQUEST");
  }

  /**
   * The content of pages [first, first+count).
   *
   * @param pages count × 4096 readable bytes, the caller's again after the call: what is to be kept
   *     must be copied
   */
  default void onPages(int first, int count, ByteBuf pages) {
    throw unexpected("PAGES");
  }

  /** Pages [first, first+count) are zero at the source. */
  default void onZero(int first, int count) {
    throw unexpected("ZERO");
  }

  /** The peer has dealt with the first {@code frames} page frames of this connection. */
  default void onAck(long frames) {
    throw unexpected("ACK");
  }

  /**
   * The peer wants to know how long the way is.
   *
   * @param stamp sent back as it is, at once
   */
  default void onPing(long stamp) {
    throw unexpected("PING");
  }

  /** The peer sends a {@link #onPing} of ours back. */
  default void onPong(long stamp) {
    throw unexpected("PONG");
  }

  /**
   * The next piece of the device state.
   *
   * @param piece the caller releases it after the call
   */
  default void onDeviceState(ByteBuf piece) {
    throw unexpected("DEVICE_STATE");
  }

  /**
   * Which of pages [first, first+count) the peer has.
   *
   * @param bits count bits, the lowest bit of the first byte for the first page; the caller
   *     releases it after the call
   */
  default void onReceived(int first, int count, ByteBuf bits) {
    throw unexpected("RECEIVED");
  }

  /**
   * Which of pages [first, first+count) are to be dropped: what was sent of them is old.
   *
   * @param bits as those of {@link #onReceived}
   */
  default void onDiscard(int first, int count, ByteBuf bits) {
    throw unexpected("DISCARD");
  }

  /** A frame of the conversation. */
  default void onControl(ControlFrame frame) {
    throw unexpected(frame.getClass().getSimpleName());
  }

  /** All that was readable has been delivered: the place for what is done once a batch. */
  default void onBatchEnd() {}

  /** The socket takes more again, after it did not. */
  default void onWritable() {}

  /** The connection is gone; called once. */
  void onClosed(CloseCause cause);

  private static ProtocolException unexpected(String frame) {
    return new ProtocolException("unexpected " + frame + " frame");
  }
}
