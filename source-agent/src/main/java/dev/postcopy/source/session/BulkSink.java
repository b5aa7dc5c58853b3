package dev.postcopy.source.session;

import dev.postcopy.source.page.BackgroundPusher;
import dev.postcopy.wire.CloseCause;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.FrameSink;
import java.util.function.Consumer;

/** What arrives on the bulk connection: its welcome, then acknowledgements. */
record BulkSink(BackgroundPusher pusher, Consumer<SourceEvent> events) implements FrameSink {

  @Override
  public void onAck(long frames) {
    pusher.onAck(frames);
  }

  @Override
  public void onControl(ControlFrame frame) {
    events.accept(new SourceEvent.Said(frame));
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
  public void onClosed(CloseCause cause) {
    pusher.onClosed();
    events.accept(SourceEvent.closed(cause));
  }
}
