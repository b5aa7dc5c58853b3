package dev.postcopy.qmp;

import org.jspecify.annotations.Nullable;
import tools.jackson.core.JsonParser;
import tools.jackson.core.JsonToken;

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

  /**
   * Reads a message of QEMU's. Only what is kept of it is looked at, and no tree is made: the guest
   * stands still while some of them are read. Of what an event holds no more is kept than this: it
   * waits for a session, and may be long.
   *
   * @return null where it is no event
   * @throws tools.jackson.core.JacksonException where it is not JSON
   */
  static @Nullable QmpEvent read(JsonParser message, long arrivalNanos) {
    if (message.nextToken() != JsonToken.START_OBJECT) {
      return null;
    }
    String name = null;
    String status = "";
    while (message.nextToken() == JsonToken.PROPERTY_NAME) {
      switch (message.currentName()) {
        case "event" -> name = text(message);
        case "data" -> status = status(message);
        // An answer may be long: the one who waits for it reads it.
        case "return", "error", "QMP" -> {
          return null;
        }
        default -> skip(message);
      }
    }
    return name == null
        ? null
        : new QmpEvent(name, name.equals("MIGRATION") ? status : "", arrivalNanos);
  }

  private static String status(JsonParser message) {
    if (message.nextToken() != JsonToken.START_OBJECT) {
      message.skipChildren();
      return "";
    }
    String status = "";
    while (message.nextToken() == JsonToken.PROPERTY_NAME) {
      if (message.currentName().equals("status")) {
        status = text(message);
      } else {
        skip(message);
      }
    }
    return status;
  }

  private static String text(JsonParser message) {
    if (message.nextToken() != JsonToken.VALUE_STRING) {
      message.skipChildren();
      return "";
    }
    String value = message.getString();
    return value.substring(0, Math.min(value.length(), MAX_TEXT));
  }

  private static void skip(JsonParser message) {
    message.nextToken();
    message.skipChildren();
  }

  /** Whether it tells how a migration goes, or that the guest stops or runs. */
  boolean isOfMigration() {
    return switch (name) {
      case "MIGRATION", "STOP", "RESUME" -> true;
      default -> false;
    };
  }
}
