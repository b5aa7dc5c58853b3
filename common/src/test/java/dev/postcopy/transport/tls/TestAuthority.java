package dev.postcopy.transport.tls;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;

/** A certificate authority made by openssl(1), which gives out folders that an agent can use. */
public final class TestAuthority {

  private static final String VALID_DAYS = "30";
  private static final String EXPIRED_DAYS = "-1";

  private final Path folder;

  private TestAuthority(Path folder) {
    this.folder = folder;
  }

  /**
   * Makes one.
   *
   * @param folder for its files; created
   */
  public static TestAuthority create(Path folder) {
    createFolder(folder);
    openssl(
        List.of("req", "-x509", "-subj", "/CN=test authority", "-days", VALID_DAYS),
        newKey(folder.resolve("ca-key.pem")),
        List.of("-out", folder.resolve("ca.pem").toString()));
    return new TestAuthority(folder);
  }

  /**
   * A folder with a new certificate, its key, and this authority's certificate.
   *
   * @param alternatives as openssl has them, {@code DNS:host} or {@code IP:127.0.0.1}
   */
  public Path issue(String name, String... alternatives) {
    return issue(name, VALID_DAYS, alternatives);
  }

  /** One that ended yesterday. */
  public Path issueExpired(String name, String... alternatives) {
    return issue(name, EXPIRED_DAYS, alternatives);
  }

  private Path issue(String name, String days, String... alternatives) {
    Path target = folder.resolve(name);
    createFolder(target);
    Path request = target.resolve("request.pem");
    openssl(
        List.of("req", "-new", "-subj", "/CN=" + name),
        newKey(target.resolve("key.pem")),
        List.of("-addext", "basicConstraints=critical,CA:FALSE"),
        List.of("-addext", "subjectAltName=" + String.join(",", alternatives)),
        List.of("-out", request.toString()));
    openssl(
        List.of("x509", "-req", "-in", request.toString(), "-days", days),
        List.of("-copy_extensions", "copy", "-CA", folder.resolve("ca.pem").toString()),
        List.of("-CAkey", folder.resolve("ca-key.pem").toString()),
        List.of("-out", target.resolve("cert.pem").toString()));
    try {
      Files.copy(
          folder.resolve("ca.pem"), target.resolve("ca.pem"), StandardCopyOption.REPLACE_EXISTING);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return target;
  }

  private static void createFolder(Path folder) {
    try {
      Files.createDirectories(folder);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static List<String> newKey(Path file) {
    return List.of(
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        file.toString());
  }

  /** Runs openssl(1) with all arguments one behind the other. */
  @SafeVarargs
  static void openssl(List<String>... arguments) {
    List<String> command = new ArrayList<>(List.of("openssl"));
    for (List<String> some : arguments) {
      command.addAll(some);
    }
    try {
      Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
      String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      if (process.waitFor() != 0) {
        throw new IllegalStateException(command + " failed: " + said);
      }
    } catch (IOException e) {
      throw new UncheckedIOException("openssl is not there; install openssl", e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException(e);
    }
  }
}
