package dev.postcopy.dest.session;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.linux.TestHost;
import io.netty.util.ResourceLeakDetector;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * What the destination's loops allocate for a page in steady state, by the JVM's own counters. A
 * loop may allocate now and then (a timer of the connection, a thread cache that grows), hence
 * bounds and not zero; a single object for each page would be 16 bytes.
 */
@Timeout(120)
class AllocationTest {

  private static final double BYTES_PER_PAGE = 1;

  private static ResourceLeakDetector.Level leakDetection = ResourceLeakDetector.getLevel();

  @BeforeAll
  static void requireRights() {
    TestHost.requireRoot();
    TestHost.requireUserfaultfd();
    // It keeps a trace of every buffer.
    leakDetection = ResourceLeakDetector.getLevel();
    ResourceLeakDetector.setLevel(ResourceLeakDetector.Level.DISABLED);
  }

  @AfterAll
  static void restoreLeakDetection() {
    ResourceLeakDetector.setLevel(leakDetection);
  }

  @Test
  void aFaultThatDemandAnswersAllocatesNothing() {
    try (MeasuredServing serving = MeasuredServing.start()) {
      assertThat(serving.bytesPerFault(MeasuredServing.Answer.ON_DEMAND, BYTES_PER_PAGE))
          .isLessThan(BYTES_PER_PAGE);
    }
  }

  @Test
  void aFaultThatBulkAnswersAllocatesNothing() {
    try (MeasuredServing serving = MeasuredServing.start()) {
      assertThat(serving.bytesPerFault(MeasuredServing.Answer.ON_BULK, BYTES_PER_PAGE))
          .isLessThan(BYTES_PER_PAGE);
    }
  }

  @Test
  void aFaultOnAZeroPageAllocatesNothing() {
    try (MeasuredServing serving = MeasuredServing.start()) {
      assertThat(serving.bytesPerFault(MeasuredServing.Answer.AS_ZERO, BYTES_PER_PAGE))
          .isLessThan(BYTES_PER_PAGE);
    }
  }

  @Test
  void aPushedFrameAndItsAcknowledgementAllocateNothing() {
    try (MeasuredServing serving = MeasuredServing.start()) {
      assertThat(serving.bytesPerPushedFrame(BYTES_PER_PAGE)).isLessThan(BYTES_PER_PAGE);
    }
  }
}
