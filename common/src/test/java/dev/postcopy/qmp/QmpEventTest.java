package dev.postcopy.qmp;

import static org.assertj.core.api.Assertions.assertThat;

import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.core.JsonParser;
import tools.jackson.databind.ObjectMapper;

class QmpEventTest {

  private static final long ARRIVAL_NANOS = 17;

  @Test
  void aMigrationEventTellsItsStatusInWhateverOrderItsPartsCome() {
    QmpEvent expected = new QmpEvent("MIGRATION", "completed", ARRIVAL_NANOS);
    assertThat(
            read(
                "{\"timestamp\":{\"seconds\":1,\"event\":\"STOP\"},\"event\":\"MIGRATION\","
                    + "\"data\":{\"x\":[{\"status\":\"failed\"}],\"status\":\"completed\"}}"))
        .as("as QEMU says it, with names that mean something only at their own place")
        .isEqualTo(expected);
    assertThat(read("{\"data\":{\"status\":\"completed\",\"y\":{}},\"event\":\"MIGRATION\"}"))
        .as("what the event is about ahead of its name")
        .isEqualTo(expected);
  }

  @Test
  void theStatusOfAnythingButAMigrationIsNotOne() {
    assertThat(read("{\"event\":\"JOB_STATUS_CHANGE\",\"data\":{\"status\":\"running\"}}"))
        .isEqualTo(new QmpEvent("JOB_STATUS_CHANGE", "", ARRIVAL_NANOS));
  }

  @ParameterizedTest
  @ValueSource(strings = {"{}", "[1]", "\"completed\"", "{\"status\":{\"status\":\"completed\"}}"})
  void aMigrationEventOfAnotherShapeHasNoStatus(String data) {
    assertThat(read("{\"event\":\"MIGRATION\",\"data\":%s,\"more\":{}}".formatted(data)))
        .isEqualTo(new QmpEvent("MIGRATION", "", ARRIVAL_NANOS));
  }

  @Test
  void ofALongNameTheBeginningIsKept() {
    assertThat(read("{\"event\":\"%s\"}".formatted("E".repeat(1000))))
        .as("what waits for the session")
        .isEqualTo(new QmpEvent("E".repeat(64), "", ARRIVAL_NANOS));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "{}",
        "[{\"event\":\"STOP\"}]",
        "{\"id\":1}",
        "{\"return\":{\"event\":\"STOP\"},\"id\":1}",
        "{\"id\":1,\"error\":{\"class\":\"GenericError\",\"desc\":\"no\"}}",
        "{\"QMP\":{\"version\":{}}}",
        "{\"data\":{\"event\":\"STOP\"}}"
      })
  void whatHasNoNameAtItsPlaceIsNoEvent(String message) {
    assertThat(read(message)).as("the event in " + message).isNull();
  }

  private static @Nullable QmpEvent read(String message) {
    try (JsonParser parser = new ObjectMapper().createParser(message)) {
      return QmpEvent.read(parser, ARRIVAL_NANOS);
    }
  }
}
