package dev.postcopy.qmp;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.PrintStream;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.Channels;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import tools.jackson.databind.ObjectMapper;

/**
 * Speaks QMP without a machine behind it: each command is answered with an empty object, so that a
 * migration is refused as soon as all was looked at. For the run that an ahead-of-time cache is
 * made from, on hosts where no QEMU is installed yet; nothing can be tried on it.
 */
public final class BlankMonitor implements AutoCloseable {

  private static final Logger log = LoggerFactory.getLogger(BlankMonitor.class);

  private static final String GREETING =
      """
      {"QMP": {"version": {"qemu": {"major": 0, "minor": 0, "micro": 0}}, "capabilities": []}}
      """;

  private final Path folder;
  private final ServerSocketChannel server;

  private BlankMonitor(Path folder, ServerSocketChannel server) {
    this.folder = folder;
    this.server = server;
  }

  /** Listens at a socket in a folder of its own. */
  public static BlankMonitor open() throws IOException {
    Path folder = Files.createTempDirectory("postcopy-");
    ServerSocketChannel server = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
    BlankMonitor monitor = new BlankMonitor(folder, server);
    server.bind(UnixDomainSocketAddress.of(monitor.socket()));
    Thread.ofVirtual().start(monitor::serve);
    return monitor;
  }

  /** The folder, in which other things may be put that are gone with the monitor. */
  public Path folder() {
    return folder;
  }

  /** Where it listens. */
  public Path socket() {
    return folder.resolve("blank.qmp");
  }

  private void serve() {
    ObjectMapper json = new ObjectMapper();
    try (SocketChannel client = server.accept();
        BufferedReader commands = new BufferedReader(Channels.newReader(client, UTF_8));
        PrintStream answers = new PrintStream(Channels.newOutputStream(client), true, UTF_8)) {
      answers.print(GREETING);
      answers.flush();
      for (String line = commands.readLine(); line != null; line = commands.readLine()) {
        answers.print(
            "{\"return\": {}, \"id\": %d}\n".formatted(json.readTree(line).path("id").asLong()));
        answers.flush();
      }
    } catch (IOException e) {
      log.debug("the blank monitor ends", e);
    }
  }

  @Override
  public void close() throws IOException {
    server.close();
    try (var files = Files.list(folder)) {
      for (Path file : files.toList()) {
        Files.delete(file);
      }
    }
    Files.delete(folder);
  }
}
