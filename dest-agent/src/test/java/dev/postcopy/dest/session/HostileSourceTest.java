package dev.postcopy.dest.session;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.dest.attach.GuestRam;
import dev.postcopy.linux.MappedRam;
import dev.postcopy.linux.ScratchMemory;
import dev.postcopy.linux.TestHost;
import dev.postcopy.linux.Userfaultfd;
import dev.postcopy.memory.RamBlock;
import dev.postcopy.memory.RamLayout;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.EventLoops;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.FrameMutator;
import dev.postcopy.wire.FrameWriter;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufUtil;
import io.netty.buffer.UnpooledByteBufAllocator;
import io.netty.channel.IoEventLoopGroup;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * Whatever a source says, nothing is written beside the guest's RAM, a page that is there stays as
 * it is, and the connection ends with a line that names the cause. The memory beside the RAM is
 * registered like it, so that only the agent's own checks protect it.
 *
 * <p>{@code fuzz.sources} is how many sources there are, {@code fuzz.seed} what they say.
 */
@Timeout(value = 900, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class HostileSourceTest {

  private static final int SOURCES = Integer.getInteger("fuzz.sources", 500);
  private static final long SEED = Long.getLong("fuzz.seed", 20260101);
  private static final int PAGE = RamLayout.PAGE_BYTES;
  private static final int GUARD_PAGES = 64;
  private static final int BLOCK_PAGES = 32;
  private static final int RAM_PAGES = 2 * BLOCK_PAGES;

  /** The pages that come first, with what is theirs. */
  private static final int TRUE_PAGES = 8;

  private static final long TRUE_WORD = 0x7472_7565_7472_7565L;
  private static final long FALSE_WORD = 0x6661_6c73_6566_616cL;
  private static final long RAM_START = (long) GUARD_PAGES * PAGE;
  private static final long RAM_END = RAM_START + (long) RAM_PAGES * PAGE;
  private static final long ALL_BYTES = RAM_END + RAM_START;
  private static final RamLayout LAYOUT =
      new RamLayout(
          List.of(new RamBlock("m0", BLOCK_PAGES * PAGE), new RamBlock("m1", BLOCK_PAGES * PAGE)));
  private static final IoEventLoopGroup LOOPS = EventLoops.named("hostile", 4);
  private static final FrameWriter FRAMES = new FrameWriter(UnpooledByteBufAllocator.DEFAULT);

  @BeforeAll
  static void requireRights() {
    TestHost.requireRoot();
    TestHost.requireUserfaultfd();
  }

  @AfterAll
  static void shutDown() {
    EventLoops.shutDown(LOOPS);
  }

  private static byte[] bytes(ByteBuf frame) {
    try {
      return ByteBufUtil.getBytes(frame);
    } finally {
      frame.release();
    }
  }

  private static byte[] pages(int first, int count, long word) {
    ByteBuf frame = FRAMES.beginPages(first, count);
    for (int i = 0; i < count * PAGE / Long.BYTES; i++) {
      frame.writeLongLE(word);
    }
    return bytes(FRAMES.seal(frame));
  }

  /** What a source may say, what it may say elsewhere, and what it must not say. */
  private static List<byte[]> frames() {
    List<byte[]> frames = new ArrayList<>();
    int[][] runs = {
      {0, 1},
      {0, 8},
      {7, 2},
      {20, 1},
      {20, 4},
      {31, 1},
      {31, 2},
      {32, 1},
      {63, 1},
      {63, 2},
      {64, 1},
      {64, 64},
      {0, 64},
      {Integer.MAX_VALUE, 1},
      {Integer.MAX_VALUE, 64},
    };
    for (int[] run : runs) {
      frames.add(pages(run[0], run[1], FALSE_WORD));
      frames.add(bytes(FRAMES.zero(run[0], run[1])));
    }
    frames.add(bytes(FRAMES.zero(TRUE_PAGES, BLOCK_PAGES - TRUE_PAGES)));
    frames.add(bytes(FRAMES.zero(BLOCK_PAGES, BLOCK_PAGES)));
    frames.add(bytes(FRAMES.zero(0, Integer.MAX_VALUE)));
    for (int[] run : runs) {
      frames.add(
          bytes(
              FRAMES.seal(
                  FRAMES
                      .beginDiscard(run[0], Math.min(run[1], 16))
                      .writeBytes(new byte[(Math.min(run[1], 16) + 7) / 8]))));
    }
    frames.add(bytes(FRAMES.request(1, 1)));
    frames.add(bytes(FRAMES.ack(1)));
    frames.add(bytes(FRAMES.ping(7)));
    frames.add(bytes(FRAMES.pong(7)));
    frames.add(bytes(FRAMES.seal(FRAMES.beginDeviceState(300).writeZero(300))));
    for (ControlFrame control :
        List.of(
            new ControlFrame.DeviceStateEnd(300),
            new ControlFrame.Commit(true),
            new ControlFrame.End(40, 24),
            new ControlFrame.Confirmed(1, 2, 3),
            new ControlFrame.Ready(),
            new ControlFrame.Abort("no"))) {
      frames.add(bytes(FRAMES.control(control)));
    }
    return frames;
  }

  @Test
  void writesBesideNothingChangesNothingAndNamesWhatWasWrong() throws InterruptedException {
    Random random = new Random(SEED);
    FrameMutator mutator = new FrameMutator(SEED, frames());
    Map<String, Integer> causes = new TreeMap<>();
    try (ScratchMemory memory = ScratchMemory.create(ALL_BYTES);
        MappedRam view = memory.file().mapReadOnly();
        Userfaultfd userfaultfd = Userfaultfd.ofThisProcess()) {
      long start = memory.range().start().plus(RAM_START).value();
      GuestRam ram = GuestRam.at(LAYOUT, start, start + (long) BLOCK_PAGES * PAGE);
      for (int round = 0; round < SOURCES; round++) {
        long touched = RAM_START + (long) random.nextInt(RAM_PAGES) * PAGE;
        try (HostileSource source =
            new HostileSource(LOOPS, memory, userfaultfd, ram, random.nextBoolean(), touched)) {
          HostileSource.say(source.demand, pages(0, TRUE_PAGES, TRUE_WORD));
          while (source.serving.pages().dataPages() < TRUE_PAGES) {
            Thread.onSpinWait();
          }
          for (int i = 0; i < 8; i++) {
            Connection connection = mutator.oneIn(2) ? source.bulk : source.demand;
            HostileSource.say(
                connection, mutator.oneIn(3) ? mutator.brokenFrame() : mutator.trueFrame());
          }
          for (DestinationEvent event : source.hangUp()) {
            assertThat(event)
                .as("seed %d, round %d", SEED, round)
                .isNotInstanceOf(DestinationEvent.ServingFailed.class);
            if (event instanceof DestinationEvent.ConnectionLost lost) {
              assertThat(lost.cause().text())
                  .as("seed %d, round %d", SEED, round)
                  .matches("(protocol error: |the peer closed|the connection broke).*");
              causes.merge(lost.cause().text().replaceAll("\\d+", "N"), 1, Integer::sum);
            }
          }
          requireGuardsAreHoles(memory, round);
          requireTruePages(view, round);
        }
        memory.file().punchAll();
      }
    }
    assertThat(causes)
        .containsKeys(
            "protocol error: pages N+N are not in the guest's RAM",
            "protocol error: page N is zero after it had content",
            "protocol error: page N has content after it was zero",
            "protocol error: device state before READY",
            "protocol error: N bytes of device state of N",
            "protocol error: unexpected REQUEST frame",
            "protocol error: unexpected ACK frame",
            "protocol error: unexpected PONG frame",
            "protocol error: unexpected DISCARD frame",
            "protocol error: DISCARD after LOADED",
            "the peer closed the connection");
  }

  private static void requireGuardsAreHoles(ScratchMemory memory, int round) {
    assertThat(memory.file().nextData(0))
        .as("seed %d, round %d: first byte that was written", SEED, round)
        .isEqualTo(RAM_START);
    assertThat(memory.file().nextData(RAM_END))
        .as("seed %d, round %d: first byte that was written behind the RAM", SEED, round)
        .isEqualTo(ALL_BYTES);
  }

  private static void requireTruePages(MappedRam view, int round) {
    for (long at = RAM_START; at < RAM_START + TRUE_PAGES * PAGE; at += Long.BYTES) {
      if (view.segment().get(ValueLayout.JAVA_LONG, at) != TRUE_WORD) {
        throw new AssertionError(
            "seed %d, round %d: page changed at %d".formatted(SEED, round, at));
      }
    }
  }
}
