package dev.postcopy.dest.session;

import dev.postcopy.dest.page.PageDropper;
import dev.postcopy.dest.page.PageReceiver;
import dev.postcopy.dest.page.PageStates;
import dev.postcopy.dest.page.PlacingFailedException;
import dev.postcopy.transport.Connection;
import dev.postcopy.wire.CloseCause;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.ControlFrame.ConnectionRole;
import dev.postcopy.wire.FrameSink;
import dev.postcopy.wire.ProtocolException;
import io.netty.buffer.ByteBuf;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/** Where the frames go that arrive on the two connections from the source. */
final class Source {

  private Source() {}

  /** Answers to requests, and the conversation. */
  static FrameSink demandSink(
      PageReceiver receiver,
      PageStates pages,
      Consumer<DestinationEvent> events,
      Connection demand) {
    return new DemandSink(receiver, pages, events, demand);
  }

  /**
   * Device state and pushed pages; every batch of them is acknowledged. Where no page may be taken
   * back any more there is no device state to come either, and pages are read in large batches.
   *
   * @param dropper null where no page may be taken back
   */
  static FrameSink bulkSink(
      PageReceiver receiver,
      PageStates pages,
      Consumer<DestinationEvent> events,
      Connection bulk,
      DeviceStateFeeder feeder,
      @Nullable PageDropper dropper) {
    return new BulkSink(receiver, pages, events, bulk, feeder, dropper);
  }

  private abstract static sealed class PageSink implements FrameSink permits DemandSink, BulkSink {

    final PageReceiver receiver;
    final Consumer<DestinationEvent> events;
    private final PageStates pages;
    boolean complete;
    private boolean failed;

    PageSink(PageReceiver receiver, PageStates pages, Consumer<DestinationEvent> events) {
      this.receiver = receiver;
      this.pages = pages;
      this.events = events;
    }

    abstract ConnectionRole role();

    @Override
    public void onPages(int first, int count, ByteBuf content) {
      try {
        receiver.onPages(first, count, content);
      } catch (PlacingFailedException e) {
        fail(e);
      }
    }

    @Override
    public void onZero(int first, int count) {
      try {
        receiver.onZero(first, count);
      } catch (PlacingFailedException e) {
        fail(e);
      }
    }

    /** Told once: what else fails on this link means the same, and a peer sends as it likes. */
    void fail(PlacingFailedException failure) {
      if (!failed) {
        failed = true;
        events.accept(failed(failure));
      }
    }

    private static DestinationEvent failed(PlacingFailedException failure) {
      String cause = String.valueOf(failure.getMessage());
      return failure.isCurable()
          ? new DestinationEvent.OutOfMemory(cause)
          : new DestinationEvent.ServingFailed(cause);
    }

    @Override
    public void onControl(ControlFrame frame) {
      events.accept(new DestinationEvent.Said(frame));
    }

    @Override
    public void onBatchEnd() {
      // Both sinks may see the last page; the session takes the news twice.
      if (!complete && pages.isComplete()) {
        complete = true;
        events.accept(new DestinationEvent.AllPagesKnown());
      }
    }

    @Override
    public void onClosed(CloseCause cause) {
      events.accept(new DestinationEvent.ConnectionLost(role(), cause));
    }
  }

  private static final class DemandSink extends PageSink {

    private final Connection demand;

    DemandSink(
        PageReceiver receiver,
        PageStates pages,
        Consumer<DestinationEvent> events,
        Connection demand) {
      super(receiver, pages, events);
      this.demand = demand;
    }

    @Override
    ConnectionRole role() {
      return ConnectionRole.DEMAND;
    }

    @Override
    public void onPing(long stamp) {
      demand.write(demand.writer().pong(stamp));
      demand.flush();
      // A peer that asks and does not read the answers is not read either, until it does.
      demand.setReading(demand.isWritable());
    }

    @Override
    public void onWritable() {
      demand.setReading(true);
    }
  }

  private static final class BulkSink extends PageSink {

    private final Connection bulk;
    private final DeviceStateFeeder feeder;
    private final @Nullable PageDropper dropper;
    private final PushReading reading;
    private long acknowledged;

    BulkSink(
        PageReceiver receiver,
        PageStates pages,
        Consumer<DestinationEvent> events,
        Connection bulk,
        DeviceStateFeeder feeder,
        @Nullable PageDropper dropper) {
      super(receiver, pages, events);
      this.bulk = bulk;
      this.reading = new PushReading(bulk);
      this.feeder = feeder;
      this.dropper = dropper;
    }

    @Override
    ConnectionRole role() {
      return ConnectionRole.BULK;
    }

    @Override
    public void onDiscard(int first, int count, ByteBuf bits) {
      if (dropper == null) {
        throw new ProtocolException("DISCARD after LOADED");
      }
      complete = false;
      try {
        receiver.onDiscard(first, count, bits, dropper);
      } catch (PlacingFailedException e) {
        fail(e);
      }
    }

    @Override
    public void onDeviceState(ByteBuf piece) {
      feeder.onDeviceState(piece);
    }

    @Override
    public void onControl(ControlFrame frame) {
      if (frame instanceof ControlFrame.DeviceStateEnd(long byteLength)) {
        feeder.onEnd(byteLength);
      } else {
        super.onControl(frame);
      }
    }

    @Override
    public void onBatchEnd() {
      acknowledge();
      super.onBatchEnd();
      if (dropper == null || dropper.isEnded()) {
        reading.awaitBatch();
      }
    }

    @Override
    public void onClosed(CloseCause cause) {
      reading.end();
      super.onClosed(cause);
    }

    @Override
    public void onWritable() {
      acknowledge();
    }

    /**
     * One number stands for all before it: a peer that does not read them gets one when it does.
     */
    private void acknowledge() {
      if (receiver.frames() > acknowledged && bulk.isWritable()) {
        acknowledged = receiver.frames();
        bulk.write(bulk.writer().ack(acknowledged));
        bulk.flush();
      }
    }
  }
}
