package dev.postcopy.transport.tls;

import dev.postcopy.cli.Refusal;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * Who may send which VM to this host, from a file with lines of two fields, {@code CERTIFICATE-NAME
 * VM-NAME}. In both {@code *} stands for any characters; {@code #} begins a comment. The file is
 * looked at each time. For any thread.
 */
public final class AllowList {

  private final Path file;
  private final ReloadedFiles<List<Rule>> rules;

  /** Names of hosts are the same in upper and lower case, names of VMs are not. */
  private record Rule(Pattern certificateName, Pattern vmName) {

    boolean allows(Set<String> names, String vm) {
      return vmName.matcher(vm).matches()
          && names.stream().anyMatch(name -> certificateName.matcher(name).matches());
    }
  }

  /**
   * Reads the file.
   *
   * @throws Refusal where it cannot be read, or a line is wrong, which it names
   */
  public AllowList(Path file) {
    this.file = file;
    this.rules = new ReloadedFiles<>(List.of(file), () -> read(file));
  }

  /**
   * @param certificateNames the sender's, by its certificate
   * @param vm the guest's name as the sender tells it
   * @throws Refusal where no line allows it
   */
  public void require(Set<String> certificateNames, String vm) {
    if (rules.current().stream().noneMatch(rule -> rule.allows(certificateNames, vm))) {
      throw new Refusal(
          "%s may not send VM '%s' to this host".formatted(String.join(", ", certificateNames), vm),
          "allow it with a line in " + file);
    }
  }

  private static List<Rule> read(Path file) {
    List<String> lines;
    try {
      lines = Files.readAllLines(file);
    } catch (IOException e) {
      throw new Refusal(
          "the list of who may send VMs cannot be read: " + e, "name a readable file with --allow");
    }
    List<Rule> found = new ArrayList<>();
    for (int i = 0; i < lines.size(); i++) {
      String line = lines.get(i).replaceFirst("#.*", "").strip();
      if (line.isEmpty()) {
        continue;
      }
      String[] fields = line.split("\\s+", -1);
      if (fields.length != 2) {
        throw new Refusal(
            "%s:%d: '%s' has %d field(s)".formatted(file, i + 1, line, fields.length),
            "write the name of a certificate and that of a VM");
      }
      found.add(new Rule(glob(fields[0], Pattern.CASE_INSENSITIVE), glob(fields[1], 0)));
    }
    return List.copyOf(found);
  }

  private static Pattern glob(String text, int flags) {
    return Pattern.compile(
        Stream.of(text.split("\\*", -1)).map(Pattern::quote).collect(Collectors.joining(".*")),
        flags);
  }
}
