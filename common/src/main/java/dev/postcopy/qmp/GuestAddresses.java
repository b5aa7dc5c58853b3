package dev.postcopy.qmp;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.exc.JsonNodeException;

/**
 * What one QEMU says of addresses in its guest's physical memory. For hints only: QEMU calls two of
 * the commands unstable (qapi/virtio.json), so one that does not know them knows no addresses.
 * Blocking; for a session's own thread.
 */
public final class GuestAddresses {

  /** Above what any one device has (QEMU: VIRTIO_QUEUE_MAX). */
  private static final int MAX_QUEUES = 1024;

  private static final Pattern HOST_ADDRESS = Pattern.compile("is 0x([0-9a-f]{1,16})\\b");

  private final QmpClient qmp;

  GuestAddresses(QmpClient qmp) {
    this.qmp = qmp;
  }

  /**
   * Where the rings are of the virtio queues that the guest has set up: the available and the used
   * one of each, the device first that was made first.
   *
   * @param limit how many addresses at the most
   */
  public List<Long> virtioRings(int limit) {
    List<Long> rings = new ArrayList<>();
    try {
      List<String> devices = new ArrayList<>();
      qmp.execute("x-query-virtio").forEach(node -> devices.add(node.path("path").asString("")));
      // QEMU names the newest first, and loads the oldest first.
      for (String device : devices.reversed()) {
        addRings(device, limit, rings);
      }
    } catch (QmpException | JsonNodeException e) {
      return List.of();
    }
    return rings;
  }

  private void addRings(String device, int limit, List<Long> rings) {
    int queues =
        qmp.execute("x-query-virtio-status", Map.of("path", device)).path("num-vqs").asInt(0);
    for (int i = 0; i < Math.min(queues, MAX_QUEUES) && rings.size() + 2 <= limit; i++) {
      JsonNode queue =
          qmp.execute("x-query-virtio-queue-status", Map.of("path", device, "queue", i));
      if (queue.path("vring-desc").asLong(0) != 0) {
        rings.add(queue.path("vring-avail").asLong(0));
        rings.add(queue.path("vring-used").asLong(0));
      }
    }
  }

  /**
   * Where QEMU itself has a byte of the guest's RAM; empty where there is no RAM at that address.
   */
  public OptionalLong hostAddressOf(long guestPhysicalAddress) {
    String answer;
    try {
      answer = qmp.humanMonitor("gpa2hva 0x" + Long.toHexString(guestPhysicalAddress));
    } catch (QmpException e) {
      return OptionalLong.empty();
    }
    Matcher matcher = HOST_ADDRESS.matcher(answer);
    return matcher.find()
        ? OptionalLong.of(Long.parseUnsignedLong(matcher.group(1), 16))
        : OptionalLong.empty();
  }
}
