package dev.postcopy.cli;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.IDefaultValueProvider;
import picocli.CommandLine.Model.ArgSpec;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.ParameterException;

/**
 * Defaults of an agent's options, from a file of lines {@code key = value}: a key is the long name
 * of an option of {@code serve} without its dashes, {@code #} begins a line of comment. The command
 * line wins.
 *
 * <p>Other commands take {@link #STATE_FOLDER} alone: they find the agent that serves where its
 * file says it is, and nothing else of that agent's is theirs.
 *
 * <p>The standard file need not be there; one that {@link ConfigOption} names must.
 */
public final class ConfigFile implements IDefaultValueProvider {

  private static final String SERVE = "serve";
  private static final String STATE_FOLDER = "state-dir";

  private final Path standard;

  ConfigFile(Path standard) {
    this.standard = standard;
  }

  /**
   * Lets all commands of an agent have their defaults from its file.
   *
   * @param commandLine of the agent; its name is the file's
   */
  static CommandLine use(CommandLine commandLine) {
    Path file = Path.of("/etc/postcopy", commandLine.getCommandName() + ".conf");
    return commandLine.setDefaultValueProvider(new ConfigFile(file));
  }

  @Override
  public @Nullable String defaultValue(ArgSpec argument) {
    CommandSpec command = argument.command();
    if (!(argument instanceof OptionSpec option) || command.commandLine().isUsageHelpRequested()) {
      return null;
    }
    String key = key(option);
    boolean applies =
        command.name().equals(SERVE)
            ? !option.equals(command.findOption(ConfigOption.NAME))
            : key.equals(STATE_FOLDER);
    return applies ? read(command).get(key) : null;
  }

  private Map<String, String> read(CommandSpec command) {
    OptionSpec option = command.findOption(ConfigOption.NAME);
    Path named = option == null ? null : option.getValue();
    Path file = named == null ? standard : named;
    try {
      return parse(command, file, Files.readAllLines(file, StandardCharsets.UTF_8));
    } catch (NoSuchFileException e) {
      if (named == null) {
        return Map.of();
      }
      throw new ParameterException(
          command.commandLine(), file + " is not there; create it, or leave --config out", e);
    } catch (IOException e) {
      throw new ParameterException(
          command.commandLine(), file + " cannot be read (" + e.getMessage() + ")", e);
    }
  }

  private static Map<String, String> parse(CommandSpec command, Path file, List<String> lines) {
    Set<String> keys = keys(command);
    Map<String, String> settings = new LinkedHashMap<>();
    for (int at = 0; at < lines.size(); at++) {
      String line = lines.get(at).strip();
      if (line.isEmpty() || line.startsWith("#")) {
        continue;
      }
      String wrong = add(settings, line, keys);
      if (wrong != null) {
        throw new ParameterException(command.commandLine(), file + ":" + (at + 1) + ": " + wrong);
      }
    }
    return settings;
  }

  /** Returns what is wrong with the line, and the remedy; null where nothing is. */
  private static @Nullable String add(Map<String, String> settings, String line, Set<String> keys) {
    int equals = line.indexOf('=');
    String key = (equals < 0 ? line : line.substring(0, equals)).strip();
    String value = equals < 0 ? "" : line.substring(equals + 1).strip();
    if (!keys.contains(key)) {
      return "there is no key '%s'; write '%s'".formatted(key, nearest(key, keys));
    }
    if (value.isEmpty()) {
      return "'%s' has no value; write '%s = VALUE', or remove the line".formatted(key, key);
    }
    if (settings.putIfAbsent(key, value) != null) {
      return "'%s' is there a second time; remove one of the lines".formatted(key);
    }
    return null;
  }

  private static Set<String> keys(CommandSpec command) {
    CommandLine serve = command.root().subcommands().get(SERVE);
    Set<String> keys = new TreeSet<>();
    for (OptionSpec option : (serve == null ? command : serve.getCommandSpec()).options()) {
      if (!option.usageHelp() && !option.versionHelp() && !option.hidden()) {
        keys.add(key(option));
      }
    }
    keys.remove(ConfigOption.NAME.substring(2));
    return keys;
  }

  private static String key(OptionSpec option) {
    return option.longestName().replaceFirst("^-+", "");
  }

  private static String nearest(String key, Set<String> keys) {
    return keys.stream().min(Comparator.comparingInt(other -> distance(key, other))).orElseThrow();
  }

  /** How many letters must be inserted, removed or replaced (Levenshtein). */
  private static int distance(String one, String other) {
    int[] row = new int[other.length() + 1];
    for (int at = 0; at <= other.length(); at++) {
      row[at] = at;
    }
    for (int i = 1; i <= one.length(); i++) {
      int diagonal = row[0];
      row[0] = i;
      for (int at = 1; at <= other.length(); at++) {
        int replaced = diagonal + (one.charAt(i - 1) == other.charAt(at - 1) ? 0 : 1);
        diagonal = row[at];
        row[at] = Math.min(replaced, Math.min(row[at], row[at - 1]) + 1);
      }
    }
    return row[other.length()];
  }
}
