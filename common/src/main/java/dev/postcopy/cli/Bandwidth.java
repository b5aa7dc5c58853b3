package dev.postcopy.cli;

import java.util.regex.Matcher;
import java.util.regex.Pattern;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/**
 * A rate as it is written on a command line: bytes a second, with K, M or G for powers of 1024 as
 * QEMU has it, or "unlimited".
 *
 * @param bytesPerSecond positive; Long.MAX_VALUE: no limit
 */
public record Bandwidth(long bytesPerSecond) {

  public static final Bandwidth UNLIMITED = new Bandwidth(Long.MAX_VALUE);

  private static final Pattern FORM = Pattern.compile("([1-9][0-9]{0,9})([KMG]?)");

  /**
   * @throws IllegalArgumentException for anything else than the form above
   */
  public static Bandwidth parse(String text) {
    if (text.equals("unlimited")) {
      return UNLIMITED;
    }
    Matcher matcher = FORM.matcher(text);
    if (!matcher.matches()) {
      throw new IllegalArgumentException(
          "expected bytes a second, like 100M, or 'unlimited', not '" + text + "'");
    }
    int shift =
        switch (matcher.group(2)) {
          case "K" -> 10;
          case "M" -> 20;
          case "G" -> 30;
          default -> 0;
        };
    return new Bandwidth(Long.parseLong(matcher.group(1)) << shift);
  }

  /** Picocli's way to {@link #parse}. */
  public static final class Converter implements ITypeConverter<Bandwidth> {
    @Override
    public Bandwidth convert(String text) {
      try {
        return parse(text);
      } catch (IllegalArgumentException e) {
        throw new TypeConversionException(e.getMessage());
      }
    }
  }
}
