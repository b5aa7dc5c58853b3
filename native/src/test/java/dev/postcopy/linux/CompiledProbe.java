package dev.postcopy.linux;

import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * A C program, made for the occasion, that prints the values of C expressions as name=value lines.
 */
public final class CompiledProbe {
  private CompiledProbe() {}

  /** What the C compiler makes of each expression, with the headers of {@code abi-headers.h}. */
  public static Map<String, Long> evaluate(Collection<String> expressions) throws IOException {
    String prints =
        expressions.stream()
            .map(e -> "  printf(\"%%s=%%lld\\n\", \"%s\", (long long)(%s));%n".formatted(e, e))
            .collect(Collectors.joining());
    String source = CCompiler.resource("abi-headers.h") + "\nint main(void) {\n" + prints + "}\n";
    Path probe = CCompiler.compile("abi-probe", source);
    Map<String, Long> values = new LinkedHashMap<>();
    for (String line : CCompiler.run(List.of(probe.toString()))) {
      int equals = line.lastIndexOf('=');
      values.put(line.substring(0, equals), Long.valueOf(line.substring(equals + 1)));
    }
    return values;
  }

  /** The simple names of the top-level classes in the folder that a class was compiled into. */
  public static List<String> classesBeside(Class<?> type) throws IOException, URISyntaxException {
    Path root = Path.of(type.getProtectionDomain().getCodeSource().getLocation().toURI());
    Path folder = root.resolve(type.getPackageName().replace('.', '/'));
    try (Stream<Path> files = Files.list(folder)) {
      return files
          .map(file -> file.getFileName().toString())
          .filter(name -> name.endsWith(".class") && name.indexOf('$') < 0)
          .map(name -> name.substring(0, name.length() - ".class".length()))
          .toList();
    }
  }
}
