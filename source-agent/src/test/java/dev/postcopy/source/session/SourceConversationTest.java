package dev.postcopy.source.session;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.postcopy.cli.HostAndPort;
import dev.postcopy.logging.LogFields;
import dev.postcopy.qmp.QmpEvent;
import org.junit.jupiter.api.Test;

class SourceConversationTest {

  private final SourceConversation conversation =
      new SourceConversation(SourcePhase.SWITCHING_OVER, HostAndPort.parse("127.0.0.1:9"));

  @Test
  void whoCancelsBeforeTheCommitIsHeard() {
    conversation.cancelBeforeCommit();
    assertThat(conversation.isCancelled()).isTrue();
    assertThat(conversation.queue()).containsExactly(new SourceEvent.Cancelled());
  }

  /** Else the next lost connection would end a drain that an operator could not cancel. */
  @Test
  void whoCancelsTooLateLeavesNoWishBehind() {
    conversation.cancelBeforeCommit();
    conversation.advanceTo(SourcePhase.COMMITTED);
    assertThat(conversation.isCancelled()).as("asked before the commit").isFalse();

    conversation.cancelBeforeCommit();
    assertThat(conversation.isCancelled()).as("asked behind the commit").isFalse();
  }

  /** Ctrl-C in the drain: it goes on for as long as the destination can be reached. */
  @Test
  void whoInterruptsTheDrainIsRemembered() {
    conversation.advanceTo(SourcePhase.COMMITTED);
    conversation.cancel();
    assertThat(conversation.isCancelled()).isTrue();
  }

  /** QEMU says so too when it gives a guest back whose migration has failed. */
  @Test
  void aGuestThatRunsAtTheSourceIsAFailureBehindTheCommitOnly() throws MigrationFailedException {
    SourceEvent resumed = new SourceEvent.QemuReported(new QmpEvent("RESUME", "", 1));
    conversation.unexpected(resumed);
    conversation.advanceTo(SourcePhase.COMMITTED);
    assertThatThrownBy(() -> conversation.unexpected(resumed))
        .hasMessageContaining("runs at the source again");
  }

  @Test
  void whatIsLoggedAfterAStepIsOfThePhaseThatItLedTo() {
    LogFields.during(
        "vm1",
        "host:7000",
        conversation.phase().name(),
        () -> {
          conversation.advanceTo(SourcePhase.COMMITTED);
          assertThat(LogFields.current()).containsEntry("PHASE", "committed");

          conversation.complete();
          assertThat(LogFields.current()).containsEntry("PHASE", "completed");
        });
  }
}
