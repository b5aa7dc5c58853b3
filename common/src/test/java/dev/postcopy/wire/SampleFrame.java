package dev.postcopy.wire;

import dev.postcopy.memory.RamBlock;
import dev.postcopy.wire.ControlFrame.ConnectionRole;
import dev.postcopy.wire.ControlFrame.DestinationStats;
import dev.postcopy.wire.ControlFrame.Standing;
import java.nio.charset.StandardCharsets;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.UUID;

/**
 * A frame of each type, as bytes and as what a {@link RecordingSink} notes for it.
 *
 * @param code the type's byte
 * @param body built by hand
 * @param delivery the frame as an object, or as text where no object stands for it
 */
record SampleFrame(int code, Bytes body, Object delivery) {

  static final UUID SESSION = new UUID(0x0123456789abcdefL, 0xfedcba9876543210L);

  byte[] bytes() {
    return body.asFrame(code);
  }

  /** What a sink notes: the same words for frames with and without an object. */
  String noted() {
    return delivery.toString();
  }

  @Override
  public String toString() {
    return "type " + code;
  }

  /** At least one of every type. */
  static List<SampleFrame> all() {
    return List.of(
        new SampleFrame(
            1,
            hello(Wire.VERSION, 0, 0, text("vm 1"), 2)
                .raw(text("mem0"))
                .u64(1L << 40)
                .raw(text("mém1"))
                .u64(4096),
            new ControlFrame.Hello(
                Wire.VERSION,
                SESSION,
                ConnectionRole.DEMAND,
                0,
                "vm 1",
                List.of(new RamBlock("mem0", 1L << 40), new RamBlock("mém1", 4096)))),
        new SampleFrame(
            1,
            hello(Wire.VERSION, 1, 7, 0),
            new ControlFrame.Hello(Wire.VERSION, SESSION, ConnectionRole.BULK, 7, "", List.of())),
        new SampleFrame(
            2,
            new Bytes().u16(Wire.VERSION).u8(0).u64(1L << 40),
            new ControlFrame.Welcome(Wire.VERSION, Standing.NEW, 1L << 40)),
        new SampleFrame(
            2,
            new Bytes().u16(Wire.VERSION).u8(1).u64(1L << 40),
            new ControlFrame.Welcome(Wire.VERSION, Standing.LOADED, 1L << 40)),
        new SampleFrame(
            2,
            new Bytes().u16(Wire.VERSION).u8(2).u64(1L << 40),
            new ControlFrame.Welcome(Wire.VERSION, Standing.COMMITTED, 1L << 40)),
        new SampleFrame(
            3,
            new Bytes().raw(text("it is full")).raw(text("")),
            new ControlFrame.Refuse("it is full", "")),
        new SampleFrame(4, new Bytes(), new ControlFrame.Ready()),
        new SampleFrame(
            5,
            new Bytes().filler(300),
            RecordingSink.deviceState(new Bytes().filler(300).toArray())),
        new SampleFrame(5, new Bytes(), RecordingSink.deviceState(new byte[0])),
        new SampleFrame(6, new Bytes().u64(1L << 33), new ControlFrame.DeviceStateEnd(1L << 33)),
        new SampleFrame(7, new Bytes(), new ControlFrame.Loaded()),
        new SampleFrame(8, new Bytes().u8(1), new ControlFrame.Commit(true)),
        new SampleFrame(8, new Bytes().u8(0), new ControlFrame.Commit(false)),
        new SampleFrame(9, new Bytes(), new ControlFrame.Running()),
        new SampleFrame(10, new Bytes().u32(7).u32(64), "REQUEST 7+64"),
        new SampleFrame(
            11,
            new Bytes().u32(Integer.MAX_VALUE).u32(1).filler(4096),
            RecordingSink.pages(Integer.MAX_VALUE, 1, new Bytes().filler(4096).toArray())),
        new SampleFrame(12, new Bytes().u32(0).u32(Integer.MAX_VALUE), "ZERO 0+2147483647"),
        new SampleFrame(
            20,
            new Bytes().u32(64).u32(10).u8(0x81).u8(0x02),
            RecordingSink.received(64, 10, new byte[] {(byte) 0x81, 0x02})),
        new SampleFrame(
            22, new Bytes().u32(8).u32(3).u8(0x05), RecordingSink.discard(8, 3, new byte[] {0x05})),
        new SampleFrame(21, new Bytes().u32(9).u32(1), new ControlFrame.ReceivedEnd(9, 1)),
        new SampleFrame(18, new Bytes().u64(17), "PING 17"),
        new SampleFrame(19, new Bytes().u64(0), "PONG 0"),
        new SampleFrame(13, new Bytes().u64(Long.MAX_VALUE), "ACK 9223372036854775807"),
        new SampleFrame(14, new Bytes().u32(5).u32(0), new ControlFrame.End(5, 0)),
        new SampleFrame(
            15,
            new Bytes().u32(1).u32(2).u32(3).u32(4).u64(5).u64(6).u64(7).u64(8).u64(9),
            new ControlFrame.Complete(new DestinationStats(1, 2, 3, 4, 5, 6, 7, 8, 9))),
        new SampleFrame(
            16,
            new Bytes().u64(1).u64(2).u64(1L << 62),
            new ControlFrame.Confirmed(1, 2, 1L << 62)),
        new SampleFrame(
            17,
            new Bytes().raw(text("no more — “stop”")),
            new ControlFrame.Abort("no more — “stop”")));
  }

  /** The first sample of every type: what may come on one connection. */
  static List<SampleFrame> oneOfEveryType() {
    Set<Integer> seen = new HashSet<>();
    return all().stream().filter(frame -> seen.add(frame.code())).toList();
  }

  /** The beginning of a HELLO, up to the number of blocks. */
  static Bytes hello(int version, int role, int attempt, int blocks) {
    return hello(version, role, attempt, text(""), blocks);
  }

  static Bytes hello(int version, int role, int attempt, byte[] vm, int blocks) {
    return new Bytes()
        .u16(version)
        .u64(SESSION.getMostSignificantBits())
        .u64(SESSION.getLeastSignificantBits())
        .u8(role)
        .u32(attempt)
        .raw(vm)
        .u16(blocks);
  }

  static byte[] text(String text) {
    byte[] utf8 = text.getBytes(StandardCharsets.UTF_8);
    return new Bytes().u16(utf8.length).raw(utf8).toArray();
  }
}
