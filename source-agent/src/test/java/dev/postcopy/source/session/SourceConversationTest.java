package dev.postcopy.source.session;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.cli.HostAndPort;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.slf4j.MDC;

class SourceConversationTest {

  private final SourceConversation conversation =
      new SourceConversation(SourcePhase.PREPARING, HostAndPort.parse("there:7000"));

  @AfterEach
  void forget() {
    MDC.clear();
  }

  @Test
  void whatIsLoggedAfterAStepIsOfThePhaseThatItLedTo() {
    conversation.advanceTo(SourcePhase.PRECOPYING);
    assertThat(MDC.get("phase")).isEqualTo("precopying");

    conversation.advanceTo(SourcePhase.SWITCHING_OVER);
    assertThat(MDC.get("phase")).isEqualTo("switching_over");

    conversation.complete();
    assertThat(MDC.get("phase")).isEqualTo("completed");
  }
}
