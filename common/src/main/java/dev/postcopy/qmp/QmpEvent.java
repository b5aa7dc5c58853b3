package dev.postcopy.qmp;

import tools.jackson.databind.JsonNode;

/**
 * An event that QEMU sent by itself.
 *
 * @param name as in the QMP reference: STOP, RESUME, MIGRATION, …
 * @param migrationStatus the status that a MIGRATION event carries (completed, failed, …); "" for
 *     other events
 * @param arrivalNanos {@link System#nanoTime} when it was read
 */
public record QmpEvent(String name, String migrationStatus, long arrivalNanos) {

  private static final int MAX_TEXT = 64;

  /** Of what an event holds only this is kept: it waits for a session, and may be long. */
  static QmpEvent of(JsonNode message, long arrivalNanos) {
    String name = limited(message.path("event"));
    return new QmpEvent(
        name,
        name.equals("MIGRATION") ? limited(message.path("data").path("status")) : "",
        arrivalNanos);
  }

  private static String limited(JsonNode text) {
    String value = text.asString("");
    return value.substring(0, Math.min(value.length(), MAX_TEXT));
  }

  /** Whether it tells how a migration goes, or that the guest stops or runs. */
  boolean isOfMigration() {
    return switch (name) {
      case "MIGRATION", "STOP", "RESUME" -> true;
      default -> false;
    };
  }
}
