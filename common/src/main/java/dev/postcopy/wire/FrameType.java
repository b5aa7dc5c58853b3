package dev.postcopy.wire;

import org.jspecify.annotations.Nullable;

/** The types of frames, by the byte that stands for each on the wire. */
enum FrameType {
  HELLO(1),
  WELCOME(2),
  REFUSE(3),
  READY(4),
  DEVICE_STATE(5),
  DEVICE_STATE_END(6),
  LOADED(7),
  COMMIT(8),
  RUNNING(9),
  REQUEST(10),
  PAGES(11),
  ZERO(12),
  ACK(13),
  END(14),
  COMPLETE(15),
  CONFIRMED(16),
  ABORT(17),
  PING(18),
  PONG(19),
  RECEIVED(20),
  RECEIVED_END(21),
  DISCARD(22);

  private static final FrameType[] BY_CODE = new FrameType[32];

  static {
    for (FrameType type : values()) {
      BY_CODE[type.code] = type;
    }
  }

  final byte code;

  FrameType(int code) {
    this.code = (byte) code;
  }

  /** The type of {@code code}, or null where no frame has it. */
  static @Nullable FrameType of(int code) {
    return code >= 0 && code < BY_CODE.length ? BY_CODE[code] : null;
  }
}
