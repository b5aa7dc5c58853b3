package dev.postcopy.source.session;

import dev.postcopy.source.page.RequestHandler;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.FrameSink;
import java.util.concurrent.BlockingQueue;

/** What arrives on the demand connection: requests, and the destination's side of the talk. */
record DemandSink(
    RequestHandler requests, RoundTripMeter roundTrips, BlockingQueue<SourceEvent> events)
    implements FrameSink {

  @Override
  public void onRequest(int first, int count) {
    requests.onRequest(first, count);
  }

  @Override
  public void onPong(long stamp) {
    roundTrips.onPong(stamp);
  }

  @Override
  public void onControl(ControlFrame frame) {
    events.add(new SourceEvent.Said(frame));
  }

  @Override
  public void onBatchEnd() {
    requests.onBatchEnd();
  }

  @Override
  public void onWritable() {
    requests.onWritable();
  }

  @Override
  public void onClosed(String cause) {
    events.add(new SourceEvent.ConnectionLost(cause));
  }
}
