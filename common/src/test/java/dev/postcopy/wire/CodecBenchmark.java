package dev.postcopy.wire;

import dev.postcopy.memory.RamLayout;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.PooledByteBufAllocator;
import io.netty.channel.embedded.EmbeddedChannel;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;

/** Building and taking in one frame; the bytes are in the processor's cache. */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
public class CodecBenchmark {

  /** Pages in the frame; 0: a request. */
  @Param({"0", "1", "4", "64"})
  int pages;

  private final FrameWriter writer = new FrameWriter(PooledByteBufAllocator.DEFAULT);
  private final FrameReader reader = new FrameReader();
  private final EmbeddedChannel channel = new EmbeddedChannel(reader);
  private final Counter counter = new Counter();
  private ByteBuf frame = PooledByteBufAllocator.DEFAULT.directBuffer();

  @Setup
  public void build() {
    frame.release();
    reader.handOver(counter);
    frame = write();
  }

  @TearDown
  public void release() {
    frame.release();
    channel.finishAndReleaseAll();
  }

  @Benchmark
  public boolean writeFrame() {
    return write().release();
  }

  @Benchmark
  public int readFrame() {
    channel.pipeline().fireChannelRead(frame.readerIndex(0).retain());
    if (!channel.isOpen()) {
      throw new IllegalStateException("the frame was refused");
    }
    return counter.frames;
  }

  private ByteBuf write() {
    if (pages == 0) {
      return writer.request(7, 1);
    }
    // Left as it is, the content costs nothing: what is measured is the frame around it.
    ByteBuf content = writer.beginPages(7, pages);
    return writer.seal(content.writerIndex(content.writerIndex() + pages * RamLayout.PAGE_BYTES));
  }

  private static final class Counter implements FrameSink {
    int frames;

    @Override
    public void onRequest(int first, int count) {
      frames++;
    }

    @Override
    public void onPages(int first, int count, ByteBuf content) {
      frames++;
    }

    @Override
    public void onClosed(CloseCause cause) {}
  }
}
