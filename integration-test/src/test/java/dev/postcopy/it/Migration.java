package dev.postcopy.it;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import tools.jackson.databind.JsonNode;

/** One guest from one QEMU to another by both agents, and what must be true afterwards. */
record Migration(AgentProcess source, AgentProcess destination) implements AutoCloseable {

  private static final Duration TIMEOUT = Duration.ofSeconds(60);

  /** Starts both agents. */
  static Migration start(QemuProcess from, QemuProcess to) {
    AgentProcess destination = AgentProcess.receive(to);
    return new Migration(AgentProcess.migrate(from, destination.awaitListening()), destination);
  }

  /** The same with something between the agents that can hold frames back. */
  static Migration start(
      QemuProcess from, FrameProxy proxy, AgentProcess destination, String... more) {
    return new Migration(AgentProcess.migrate(from, proxy.port(), more), destination);
  }

  /** Moves a guest and checks everything that does not depend on the guest. */
  static void complete(QemuProcess from, QemuProcess to) {
    boolean running = from.qmp().status().equals("running");
    try (Migration migration = start(from, to)) {
      migration.requireCompleted();
    }
    assertThat(to.qmp().status()).isEqualTo(running ? "running" : "paused");
    requireLetGo(from, to);
  }

  /** Both agents say that all is well, and their numbers agree. */
  void requireCompleted() {
    int sourceExit = source.awaitExit(TIMEOUT);
    int destinationExit = destination.awaitExit(TIMEOUT);
    assertThat(List.of(sourceExit, destinationExit)).as(toString()).containsExactly(0, 0);
    assertThat(source.messages()).as(toString()).isEmpty();
    assertThat(destination.messages()).as(toString()).isEmpty();
    JsonNode sent = source.report();
    JsonNode received = destination.report();
    for (JsonNode report : List.of(sent, received)) {
      requireContract(report);
      assertThat(report.path("status").asString()).isEqualTo("completed");
      assertThat(report.path("downtime_ms").asDouble()).isPositive();
      assertThat(report.path("total_ms").asDouble())
          .isGreaterThanOrEqualTo(report.path("downtime_ms").asDouble());
      assertThat(report.path("bytes_sent").asLong()).isPositive();
    }
    assertThat(pages(sent)).as(toString()).isEqualTo(pages(received));
  }

  /** Both sides' pages by their counts: each page of the guest once. */
  static long pages(JsonNode report) {
    JsonNode pages = report.path("pages");
    for (String kind : List.of("demand", "pushed", "zero")) {
      assertThat(pages.path(kind).asLong()).as("%s in %s", kind, report).isNotNegative();
    }
    return pages.path("demand").asLong()
        + pages.path("pushed").asLong()
        + pages.path("zero").asLong();
  }

  /** The fields that a reader of {@code --json} may rely on, whatever the outcome. */
  static void requireContract(JsonNode report) {
    assertThat(report.path("status").isString()).as("status in %s", report).isTrue();
    for (String field :
        List.of(
            "downtime_ms",
            "total_ms",
            "faults",
            "fault_latency_us/p50",
            "fault_latency_us/p90",
            "fault_latency_us/p99",
            "fault_latency_us/max",
            "pages/demand",
            "pages/pushed",
            "pages/zero",
            "pages/duplicate",
            "bytes_sent")) {
      assertThat(report.at("/" + field).isNumber()).as("%s in %s", field, report).isTrue();
    }
  }

  /** The guest is at one side only, and nothing of the agents is left in either QEMU. */
  static void requireLetGo(QemuProcess from, QemuProcess to) {
    assertThat(from.qmp().status()).isIn("postmigrate", "paused");
    assertThat(userfaultfds(from)).isEmpty();
    assertThat(userfaultfds(to)).isEmpty();
    requireUsualSettings(to);
  }

  /** A migration by QEMU itself would take the guest's RAM along, as that of any guest. */
  static void requireUsualSettings(QemuProcess qemu) {
    QmpProbe.MigrationSettings now = qemu.qmp().migrationSettings();
    assertThat(now.on()).as("capabilities of %s", qemu).doesNotContain("x-ignore-shared", "events");
    assertThat(now.parameters().path("max-bandwidth").asLong())
        .as("max-bandwidth of %s", qemu)
        .isEqualTo(128 << 20);
    assertThat(now.undescribed().asBoolean()).as("suppress-vmdesc of %s", qemu).isFalse();
  }

  /** What a QEMU has open of userfaultfd: the descriptor itself, and the device it is made by. */
  static List<String> userfaultfds(QemuProcess qemu) {
    return descriptors(qemu).stream().filter(link -> link.contains("userfaultfd")).toList();
  }

  /** What the links in /proc/PID/fd say. */
  static List<String> descriptors(QemuProcess qemu) {
    List<String> links = new ArrayList<>();
    try (DirectoryStream<Path> descriptors =
        Files.newDirectoryStream(Path.of("/proc", Long.toString(qemu.pid()), "fd"))) {
      for (Path descriptor : descriptors) {
        try {
          links.add(Files.readSymbolicLink(descriptor).toString());
        } catch (NoSuchFileException e) {
          // Closed since the folder was read.
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return links;
  }

  @Override
  public void close() {
    source.close();
    destination.close();
  }
}
