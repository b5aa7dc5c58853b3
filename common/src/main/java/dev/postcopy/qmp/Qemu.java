package dev.postcopy.qmp;

import dev.postcopy.cli.Refusal;
import dev.postcopy.jvm.Compiler;
import dev.postcopy.memory.RamLayout;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.function.Supplier;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.exc.JsonNodeException;

/**
 * What the agents ask of one QEMU, in QEMU's words. Blocking; for a session's own thread.
 *
 * <p>The commands are those of qapi/migration.json, qapi/machine.json and qapi/qom.json, unchanged
 * between QEMU 7.2 and 10.0.
 */
public final class Qemu {

  /** In the form of QEMU's, with a status that QEMU does not have. */
  private static final String PRETENDED_EVENT =
      """
      {"timestamp": {"seconds": 0, "microseconds": 0}, "event": "MIGRATION", "data": {"status": "rehearsal"}}
      """;

  /** The oldest that the agents are tested with. */
  private static final int OLDEST_MAJOR = 7;

  private static final int OLDEST_MINOR = 2;

  private static final String MACHINE = "/machine";
  private static final String SUPPRESS_VMDESC = "suppress-vmdesc";
  private static final String DISCARD_DATA = "discard-data";

  /** A device whose back-end maps or pins guest RAM outside of QEMU, where no fault is seen. */
  private static final Pattern FOREIGN_MAPPER =
      Pattern.compile("child<((?:vhost-user|vfio|vhost-vdpa|ivshmem)[a-z0-9-]*)>");

  /** A device that gives guest RAM back to the host (QEMU: ram_block_discard_range). */
  private static final Pattern DISCARDING_DEVICE =
      Pattern.compile("child<(?:virtio-balloon|virtio-mem|hv-balloon).*>");

  /** Block drivers that map all guest RAM for a device: what that writes causes no page fault. */
  private static final Set<String> MAPPING_BLOCK_DRIVERS =
      Set.of(
          "nvme",
          "nvme-io_uring",
          "virtio-blk-vfio-pci",
          "virtio-blk-vhost-user",
          "virtio-blk-vhost-vdpa");

  private static final Pattern FOREIGN_NETDEV = Pattern.compile("type=(vhost-user|vhost-vdpa)");

  private final QmpClient qmp;

  public Qemu(QmpClient qmp) {
    this.qmp = qmp;
  }

  public QemuVersion version() {
    JsonNode version = qmp.execute("query-version").path("qemu");
    return read(
        "query-version",
        () ->
            new QemuVersion(
                version.path("major").asInt(),
                version.path("minor").asInt(),
                version.path("micro").asInt()));
  }

  /** The run state: running, paused, inmigrate, postmigrate, … */
  public String runState() {
    return qmp.execute("query-status").path("status").asString("");
  }

  /** The state of its last migration, incoming or outgoing: none, active, completed, failed, … */
  public String migrationState() {
    JsonNode migration = qmp.execute("query-migrate");
    // QEMU 7.2 that listens for a migration tells where, and no state.
    String unsaid = migration.has("socket-address") ? "setup" : "none";
    return migration.path("status").asString(unsaid);
  }

  /**
   * The version, which the agents know.
   *
   * @throws Refusal where it is older
   */
  public QemuVersion supportedVersion() {
    QemuVersion version = version();
    if (!version.isAtLeast(OLDEST_MAJOR, OLDEST_MINOR)) {
      throw new Refusal(
          "this is QEMU " + version,
          "use QEMU %d.%d or later".formatted(OLDEST_MAJOR, OLDEST_MINOR));
    }
    return version;
  }

  /** Why QEMU itself would not migrate this guest, in its own words; empty where it would. */
  public List<String> migrationBlockers() {
    List<String> reasons = new ArrayList<>();
    for (JsonNode reason : qmp.execute("query-migrate").path("blocked-reasons")) {
      reasons.add(reason.asString(""));
    }
    return reasons;
  }

  /**
   * The memory backends, by their ids: QEMU's own order is that of a hash table, and need not be
   * that of another QEMU with the same backends.
   *
   * @throws Refusal where there is none, one without an id, or more RAM than can be
   */
  public List<MemoryBackend> backends() {
    List<MemoryBackend> backends = new ArrayList<>();
    for (JsonNode memdev : qmp.execute("query-memdev")) {
      String id = memdev.path("id").asString("");
      if (id.isEmpty()) {
        throw new Refusal(
            "a memory backend of QEMU has no id", "give each -object memory-backend-file an id");
      }
      long byteLength = read("query-memdev", () -> memdev.path("size").asLong());
      requireSize(id, byteLength);
      String path = "/objects/" + id;
      String type = property(path, "type");
      String memPath = type.equals("memory-backend-file") ? property(path, "mem-path") : "";
      backends.add(
          read(
              "query-memdev",
              () ->
                  new MemoryBackend(
                      id,
                      byteLength,
                      type,
                      memPath,
                      memdev.path("share").asBoolean(),
                      memdev.path("prealloc").asBoolean())));
    }
    if (backends.isEmpty()) {
      throw new Refusal(
          "QEMU has no memory backend", "give it -object memory-backend-file with share=on");
    }
    requireTotal(backends);
    backends.sort(Comparator.comparing(MemoryBackend::id));
    return backends;
  }

  private static void requireTotal(List<MemoryBackend> backends) {
    // Each is bounded, and what QEMU's answer holds of them too: this cannot overflow.
    long total = backends.stream().mapToLong(MemoryBackend::byteLength).sum();
    if (total > RamLayout.MAX_BYTES) {
      throw new Refusal(
          "QEMU says that the guest has %d bytes of RAM, which is too much".formatted(total),
          "guests of less than 8 TiB can be migrated");
    }
  }

  private static void requireSize(String id, long byteLength) {
    if (byteLength <= 0 || byteLength % RamLayout.PAGE_BYTES != 0) {
      throw new Refusal(
          "QEMU says that guest RAM %s has %d bytes".formatted(id, byteLength),
          "use a memory backend whose size is a multiple of %d bytes"
              .formatted(RamLayout.PAGE_BYTES));
    }
    if (byteLength > RamLayout.MAX_BYTES) {
      throw new Refusal(
          "QEMU says that guest RAM %s has %d bytes, which is too much".formatted(id, byteLength),
          "guests of less than 8 TiB can be migrated");
    }
  }

  /** Reads a value of the type that QEMU's schema gives it; of another type it is no QEMU's. */
  private static <T> T read(String command, Supplier<T> value) {
    try {
      return value.get();
    } catch (JsonNodeException e) {
      throw new QmpException(command + ": an answer of the wrong types");
    }
  }

  private String property(String path, String property) {
    return get(path, property).asString("");
  }

  private boolean isSet(String path, String property) {
    JsonNode value = get(path, property);
    return read("qom-get", value::asBoolean);
  }

  private JsonNode get(String path, String property) {
    return qmp.execute("qom-get", Map.of("path", path, "property", property));
  }

  /**
   * For the side whose memory is read to the end, whatever becomes of its QEMU.
   *
   * @throws Refusal where QEMU takes the content away when it ends (QEMU: file_backend_unparent,
   *     backends/hostmem-file.c)
   */
  public void requireKeepsContent(MemoryBackend backend) {
    String path = "/objects/" + backend.id();
    if (backend.type().equals("memory-backend-file") && isSet(path, DISCARD_DATA)) {
      throw new Refusal(
          "QEMU empties guest RAM %s when it ends (discard-data=on), sent or not"
              .formatted(backend.id()),
          ("say this in QEMU's monitor, the guest may run: {\"execute\":\"qom-set\",\"arguments\":"
                  + "{\"path\":\"%s\",\"property\":\"%s\",\"value\":false}}")
              .formatted(path, DISCARD_DATA));
    }
  }

  /**
   * The rules of QEMU's own ramblock_is_ignored (QEMU: migration/ram.c) and of our page files.
   *
   * @throws Refusal where this backend cannot be migrated, naming it and the remedy
   */
  public static void requireMigratable(MemoryBackend backend, QemuVersion version) {
    String remedy =
        "use -object memory-backend-file,id=%s,size=%dM,mem-path=/dev/shm/FILE,share=on"
            .formatted(backend.id(), backend.byteLength() >> 20);
    if (!backend.shared()) {
      throw new Refusal("guest RAM %s is not shared".formatted(backend.id()), remedy);
    }
    if (backend.preallocated()) {
      throw new Refusal(
          "guest RAM %s is preallocated (prealloc=on)".formatted(backend.id()), remedy);
    }
    switch (backend.type()) {
      case "memory-backend-file" -> {}
      case "memory-backend-memfd" -> {
        if (version.isAtLeast(8, 1)) {
          throw new Refusal(
              "guest RAM %s is a memfd, which QEMU %s sends by itself"
                  .formatted(backend.id(), version),
              remedy);
        }
      }
      default ->
          throw new Refusal("guest RAM %s is a %s".formatted(backend.id(), backend.type()), remedy);
    }
  }

  /**
   * @throws Refusal where a device's back-end has guest RAM mapped or pinned outside of QEMU
   */
  public void requireNoForeignMappers() {
    Set<String> found = new TreeSet<>();
    deviceTypes().forEach(type -> collect(FOREIGN_MAPPER.matcher(type), found));
    collect(FOREIGN_NETDEV.matcher(qmp.humanMonitor("info network")), found);
    if (!found.isEmpty()) {
      throw new Refusal(
          "device %s accesses guest RAM from outside of QEMU".formatted(String.join(", ", found)),
          "unplug it, or use a device that QEMU itself emulates");
    }
  }

  private List<String> deviceTypes() {
    List<String> types = new ArrayList<>();
    for (String container : List.of("/machine/peripheral", "/machine/peripheral-anon")) {
      for (JsonNode child : qmp.execute("qom-list", Map.of("path", container))) {
        types.add(child.path("type").asString(""));
      }
    }
    return types;
  }

  /** Whether a device may make holes in the guest's RAM. */
  public boolean mayDiscardMemory() {
    return deviceTypes().stream().anyMatch(type -> DISCARDING_DEVICE.matcher(type).matches());
  }

  /**
   * A block driver that lets a device write to guest RAM past the page tables of QEMU.
   *
   * @return its name, or empty
   */
  public Optional<String> mappingBlockDriver() {
    for (JsonNode node : qmp.execute("query-named-block-nodes", Map.of("flat", true))) {
      String driver = node.path("drv").asString("");
      if (MAPPING_BLOCK_DRIVERS.contains(driver)) {
        return Optional.of(driver);
      }
    }
    return Optional.empty();
  }

  /**
   * Returns when all disk requests that were under way have ended. A transaction, also an empty
   * one, waits for them first (QEMU: qmp_transaction, blockdev.c).
   */
  public void drainBlockRequests() {
    qmp.execute("transaction", Map.of("actions", List.of()));
  }

  private static void collect(Matcher matcher, Set<String> found) {
    while (matcher.find()) {
      found.add(matcher.group(1));
    }
  }

  /** The thread of each vCPU, as QEMU's own pid namespace numbers it. */
  public Map<Integer, Integer> vcpuThreads() {
    Map<Integer, Integer> threads = new TreeMap<>();
    for (JsonNode vcpu : qmp.execute("query-cpus-fast")) {
      read(
          "query-cpus-fast",
          () -> threads.put(vcpu.path("cpu-index").asInt(), vcpu.path("thread-id").asInt()));
    }
    return threads;
  }

  /** Turns QEMU's migration capabilities on or off; others stay as they are. */
  public void setCapabilities(Map<String, Boolean> states) {
    List<Map<String, Object>> list = new ArrayList<>();
    states.forEach((name, on) -> list.add(Map.of("capability", name, "state", on)));
    qmp.execute("migrate-set-capabilities", Map.of("capabilities", list));
  }

  /** The capabilities that are on. */
  public Set<String> enabledCapabilities() {
    Set<String> on = new TreeSet<>();
    for (JsonNode capability : qmp.execute("query-migrate-capabilities")) {
      if (read("query-migrate-capabilities", () -> capability.path("state").asBoolean())) {
        on.add(capability.path("capability").asString(""));
      }
    }
    return on;
  }

  /** The limit of QEMU's own migration stream, in bytes a second. */
  public long maxBandwidth() {
    JsonNode parameters = qmp.execute("query-migrate-parameters");
    return read("query-migrate-parameters", () -> parameters.path("max-bandwidth").asLong());
  }

  public void setMaxBandwidth(long bytesPerSecond) {
    qmp.execute("migrate-set-parameters", Map.of("max-bandwidth", bytesPerSecond));
  }

  /** Whether QEMU's own migration stream ends without a description of itself. */
  public boolean leavesDescriptionOut() {
    return isSet(MACHINE, SUPPRESS_VMDESC);
  }

  /**
   * Behind the device state QEMU writes what its bytes mean, for people who debug a stream; putting
   * that together takes longer than the state itself, and the guest stands still meanwhile. QEMU's
   * own post-copy leaves it out as well (QEMU: should_send_vmdesc, migration/savevm.c).
   */
  public void leaveDescriptionOut(boolean out) {
    qmp.execute("qom-set", Map.of("path", MACHINE, "property", SUPPRESS_VMDESC, "value", out));
  }

  /**
   * A QEMU that waits for a migration shall not let the guest run at its end, as it would where the
   * guest ran before (QEMU: qmp_stop takes back autostart in state inmigrate).
   */
  public void stayStoppedAfterLoading() {
    qmp.execute("stop");
  }

  /** Where things are in the guest's memory. */
  public GuestAddresses guestAddresses() {
    return new GuestAddresses(qmp);
  }

  /** Lets the guest run, and returns when it does. */
  public void cont() {
    qmp.execute("cont");
  }

  /**
   * Makes the command that lets the guest run. Its answer is not waited for, which may come late
   * where pages are missing; the RESUME event comes first.
   */
  public QmpClient.Request prepareRunning() {
    return qmp.prepare("cont", Map.of());
  }

  /**
   * Makes the command that lets an outgoing migration go on that waits in {@code state}; a failure
   * is reported as such.
   */
  public QmpClient.Request prepareContinuing(String state) {
    return qmp.prepare("migrate-continue", Map.of("state", state));
  }

  /** {@link QmpClient#begin}, for a command that the guest will wait for. */
  public void begin(QmpClient.Request prepared) {
    qmp.begin(prepared);
  }

  /** Sends a command that was prepared. */
  public CompletableFuture<JsonNode> send(QmpClient.Request prepared) {
    return qmp.send(prepared);
  }

  /**
   * Talks to QEMU about nothing, until the JVM has the way of a command and its answer compiled:
   * for the first few it takes a millisecond each, and those should not be the ones that the guest
   * waits for.
   */
  public void rehearse() {
    for (int i = 0; i < Compiler.ENOUGH_SLOW_CALLS; i++) {
      QmpClient.Request command = qmp.prepare("query-status", Map.of());
      qmp.begin(command);
      CompletableFuture<JsonNode> answer = qmp.send(command);
      var _ = answer.whenComplete((value, failure) -> {});
      QmpClient.await("query-status", answer, QmpClient.COMMAND_TIMEOUT);
    }
  }

  /**
   * Lets whoever listens hear of an event of a migration that there is not: of the way of an event
   * holds the same as of that of a command. Each is to be taken before the next.
   */
  public void pretendEvent() {
    qmp.hear(PRETENDED_EVENT);
  }

  /** Gives QEMU a descriptor under a name of its own. */
  public void giveDescriptor(String name, int descriptor, DescriptorSender sender) {
    qmp.executeWithDescriptor("getfd", Map.of("fdname", name), descriptor, sender);
  }

  /** QEMU closes the descriptor that it was given under {@code name}. */
  public void closeDescriptor(String name) {
    qmp.execute("closefd", Map.of("fdname", name));
  }

  /**
   * Whether an outgoing migration reports the state in which it writes the device state, whatever
   * its capabilities: from 10.0 on (QEMU: migration_switchover_prepare).
   */
  public boolean reportsDeviceState() {
    return version().isAtLeast(10, 0);
  }

  /** Begins to write the migration stream to the socket that was given as {@code name}. */
  public void migrateTo(String name) {
    qmp.execute("migrate", Map.of("uri", "fd:" + name));
  }

  /** Begins to read the migration stream from the socket that was given as {@code name}. */
  public void migrateFrom(String name) {
    qmp.execute("migrate-incoming", Map.of("uri", "fd:" + name));
  }

  /** Gives up an outgoing migration that has not ended. */
  public void cancelMigration() {
    qmp.execute("migrate_cancel");
  }

  /**
   * Lets an outgoing migration end that was cancelled, where it still has to. A cancel that comes
   * between QEMU's look at the state and its wait before the switch-over does not end that wait,
   * nor does a second one, and the guest stands still for good; this does. Elsewhere QEMU answers
   * that the state is another, or forgets it before its next wait (QEMU 7.2: migration_maybe_pause,
   * qmp_migrate_continue; in 10.0 migration_switchover_prepare has no such gap).
   */
  public void endCancelledMigration() {
    var _ = send(prepareContinuing(MigrationSettings.CANCELLING));
  }

  /**
   * Ends QEMU. Stay until the future completes, in whatever way: the monitor drops what it has not
   * looked at when its client goes (QEMU: monitor/qmp.c, monitor_qmp_cleanup_queue_and_resume).
   */
  public CompletableFuture<JsonNode> quit() {
    return qmp.send("quit", Map.of());
  }
}
