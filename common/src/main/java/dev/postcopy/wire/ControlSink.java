package dev.postcopy.wire;

import java.util.function.Consumer;

/** Hears the conversation only, and does not care for the connection's end. */
public record ControlSink(Consumer<ControlFrame> heard) implements FrameSink {

  @Override
  public void onControl(ControlFrame frame) {
    heard.accept(frame);
  }

  @Override
  public void onClosed(CloseCause cause) {}
}
