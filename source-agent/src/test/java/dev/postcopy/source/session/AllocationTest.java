package dev.postcopy.source.session;

import static org.assertj.core.api.Assertions.assertThat;

import io.netty.util.ResourceLeakDetector;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * What the source's loops allocate for a page in steady state, by the JVM's own counters; see the
 * test of the same name at the destination.
 */
@Timeout(120)
class AllocationTest {

  private static final double BYTES_PER_PAGE = 1;

  /**
   * For lseek(2), whose errno is the answer; a second call to learn it would hold the file's lock.
   */
  private static final double LINKER_SLICE_BYTES = 40;

  private static ResourceLeakDetector.Level leakDetection = ResourceLeakDetector.getLevel();

  @BeforeAll
  static void stopLeakDetection() {
    // It keeps a trace of every buffer.
    leakDetection = ResourceLeakDetector.getLevel();
    ResourceLeakDetector.setLevel(ResourceLeakDetector.Level.DISABLED);
  }

  @AfterAll
  static void restoreLeakDetection() {
    ResourceLeakDetector.setLevel(leakDetection);
  }

  @Test
  void anAnswerWithContentAllocatesNothing() {
    try (MeasuredServing serving = MeasuredServing.of(MeasuredServing.Content.DATA)) {
      assertThat(serving.bytesPerAnswer(BYTES_PER_PAGE)).isLessThan(BYTES_PER_PAGE);
    }
  }

  @Test
  void anAnswerThatAPageIsZeroAllocatesNothing() {
    try (MeasuredServing serving = MeasuredServing.of(MeasuredServing.Content.ZEROS)) {
      assertThat(serving.bytesPerAnswer(BYTES_PER_PAGE)).isLessThan(BYTES_PER_PAGE);
    }
  }

  @Test
  void anAnswerThatAPageIsAHoleAllocatesTheLinkersSliceOfErrnoAndNothingElse() {
    double bound = LINKER_SLICE_BYTES + BYTES_PER_PAGE;
    try (MeasuredServing serving = MeasuredServing.of(MeasuredServing.Content.HOLES)) {
      assertThat(serving.bytesPerAnswer(bound)).isLessThan(bound);
    }
  }

  @Test
  void aPushedFrameAndItsAcknowledgementAllocateNothing() {
    try (MeasuredServing serving = MeasuredServing.of(MeasuredServing.Content.DATA)) {
      assertThat(serving.bytesPerPushedFrame(BYTES_PER_PAGE)).isLessThan(BYTES_PER_PAGE);
    }
  }
}
