package dev.postcopy.dest.session;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.slf4j.MDC;

class DestinationConversationTest {

  private final DestinationConversation conversation =
      new DestinationConversation(DestinationPhase.LISTENING);

  @AfterEach
  void forget() {
    MDC.clear();
  }

  @Test
  void whatIsLoggedAfterAStepIsOfThePhaseThatItLedTo() {
    conversation.advanceTo(DestinationPhase.LOADING);
    assertThat(MDC.get("phase")).isEqualTo("loading");

    conversation.complete();
    assertThat(MDC.get("phase")).isEqualTo("completed");
  }
}
