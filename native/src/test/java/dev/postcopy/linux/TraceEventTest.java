package dev.postcopy.linux;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

/** Wait statuses as documented in wait(2) and ptrace(2). */
class TraceEventTest {
  private static final int STOPPED = 0x7f;
  private static final int EVENT_STOP = 128 << 16;

  @Test
  void tellsASignalFromAnEvent() {
    assertThat(TraceEvent.of(5 << 8 | STOPPED)).isEqualTo(new TraceEvent.SignalStop(5));
    assertThat(TraceEvent.of(EVENT_STOP | 5 << 8 | STOPPED)).isEqualTo(new TraceEvent.EventStop());
    assertThat(TraceEvent.of(EVENT_STOP | 19 << 8 | STOPPED))
        .as("stopped by job control")
        .isEqualTo(new TraceEvent.EventStop());
  }

  @Test
  void tellsTheEndFromAStop() {
    assertThat(TraceEvent.of(3 << 8)).as("exit(3)").isEqualTo(new TraceEvent.Ended());
    assertThat(TraceEvent.of(9)).as("SIGKILL").isEqualTo(new TraceEvent.Ended());
    assertThat(TraceEvent.of(0x80 | 11)).as("core dump").isEqualTo(new TraceEvent.Ended());
  }
}
