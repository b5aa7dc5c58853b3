package dev.postcopy.transport;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.logging.LogFields;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.FrameWriter;
import io.netty.buffer.ByteBufAllocator;
import io.netty.buffer.ByteBufAllocatorMetric;
import io.netty.buffer.ByteBufAllocatorMetricProvider;
import io.netty.channel.IoEventLoop;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(value = 30, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class MigrationLoopsTest {

  private final MigrationLoops loops = new MigrationLoops(Path.of("one.qmp"));

  /** A loop that ends gives its memory back, which the next test must not take for its own. */
  @AfterEach
  void shutDown() {
    List<IoEventLoop> begun = loops.all();
    loops.shutDown();
    begun.forEach(loop -> loop.terminationFuture().syncUninterruptibly());
  }

  @Test
  void allThreeAreThereOnceTheyHaveBegun() {
    assertThat(loops.all()).isEmpty();
    loops.start(() -> {});

    List<String> threads = new ArrayList<>();
    for (IoEventLoop loop : loops.all()) {
      threads.add(
          loop.submit(() -> Thread.currentThread().getName()).syncUninterruptibly().getNow());
    }

    assertThat(threads)
        .satisfiesExactlyInAnyOrder(
            name -> assertThat(name).startsWith("control one.qmp"),
            name -> assertThat(name).startsWith("demand one.qmp"),
            name -> assertThat(name).startsWith("bulk one.qmp"));
  }

  @Test
  void thoseThatAVcpuWaitsForComeBeforeOthers() {
    BlockingQueue<String> raised = new LinkedBlockingQueue<>();

    loops.start(() -> raised.add(Thread.currentThread().getName()));
    loops.all().forEach(loop -> loop.submit(() -> {}).syncUninterruptibly());

    assertThat(raised)
        .satisfiesExactlyInAnyOrder(
            name -> assertThat(name).startsWith("control one.qmp"),
            name -> assertThat(name).startsWith("demand one.qmp"));
  }

  @Test
  void noneThatSendsFramesMakesMemoryForThemWhileAGuestWaits() {
    loops.start(() -> {});
    loops.all().forEach(loop -> loop.submit(() -> {}).syncUninterruptibly());

    for (IoEventLoop loop : List.of(loops.demand(), loops.bulk())) {
      long grown =
          loop.submit(MigrationLoopsTest::growthByASmallFrame).syncUninterruptibly().getNow();
      assertThat(grown).as("bytes that %s made for its first frame", loop).isZero();
    }
  }

  private static long growthByASmallFrame() {
    ByteBufAllocator allocator = ByteBufAllocator.DEFAULT;
    ByteBufAllocatorMetric metric = ((ByteBufAllocatorMetricProvider) allocator).metric();
    long before = metric.usedDirectMemory();
    new FrameWriter(allocator).control(new ControlFrame.Commit(true)).release();
    return metric.usedDirectMemory() - before;
  }

  @Test
  void whoeverAsksThemTheyLogAboutTheMigrationThatBeganThem() {
    LogFields.during("one", "there:7000", "PREPARING", () -> loops.start(() -> {}));

    for (IoEventLoop loop : loops.all()) {
      Map<String, String> fields = loop.submit(LogFields::current).syncUninterruptibly().getNow();
      assertThat(fields).containsEntry("VM", "one");
    }
  }
}
