package dev.postcopy.qmp;

import tools.jackson.databind.JsonNode;

/**
 * An event that QEMU sent by itself.
 *
 * @param name as in the QMP reference: STOP, RESUME, MIGRATION, …
 * @param data its data; an empty object where it has none
 * @param arrivalNanos {@link System#nanoTime} when it was read
 */
public record QmpEvent(String name, JsonNode data, long arrivalNanos) {

  /** The status that a MIGRATION event carries (completed, failed, …); "" for other events. */
  public String migrationStatus() {
    return name.equals("MIGRATION") ? data.path("status").asString("") : "";
  }
}
