package dev.postcopy.dest.session;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.logging.LogFields;
import org.junit.jupiter.api.Test;

class DestinationConversationTest {

  private final DestinationConversation conversation =
      new DestinationConversation(DestinationPhase.LISTENING);

  @Test
  void whatIsLoggedAfterAStepIsOfThePhaseThatItLedTo() {
    LogFields.during(
        "vm1",
        "host:7000",
        conversation.phase().name(),
        () -> {
          conversation.advanceTo(DestinationPhase.LOADING);
          assertThat(LogFields.current()).containsEntry("PHASE", "loading");

          conversation.complete();
          assertThat(LogFields.current()).containsEntry("PHASE", "completed");
        });
  }
}
