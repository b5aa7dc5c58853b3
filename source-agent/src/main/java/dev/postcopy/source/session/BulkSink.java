package dev.postcopy.source.session;

import dev.postcopy.source.page.BackgroundPusher;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.FrameSink;
import java.util.concurrent.BlockingQueue;

/** What arrives on the bulk connection: its welcome, then acknowledgements. */
record BulkSink(BackgroundPusher pusher, BlockingQueue<SourceEvent> events) implements FrameSink {

  @Override
  public void onAck(long frames) {
    pusher.onAck(frames);
  }

  @Override
  public void onControl(ControlFrame frame) {
    events.add(new SourceEvent.Said(frame));
  }

  @Override
  public void onBatchEnd() {
    pusher.pump();
  }

  @Override
  public void onWritable() {
    pusher.pump();
  }

  @Override
  public void onClosed(String cause) {
    events.add(new SourceEvent.ConnectionLost(cause));
  }
}
