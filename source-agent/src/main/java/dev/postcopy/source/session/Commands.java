package dev.postcopy.source.session;

import dev.postcopy.cli.Refusal;
import dev.postcopy.control.ControlSocket;
import dev.postcopy.source.page.BandwidthLimit;
import java.io.IOException;
import java.nio.file.Path;
import java.util.function.UnaryOperator;

/** The commands that a running migration takes, as lines, and their answers. */
public final class Commands {

  public static final String CANCEL = "cancel";
  public static final String OK = "ok";

  private static final String MAX_BANDWIDTH = "max-bandwidth ";
  private static final String REFUSED = "refused: ";

  private Commands() {}

  /**
   * Changes what bulk may use of the link.
   *
   * @param bytesPerSecond positive; Long.MAX_VALUE: all
   */
  public static String maxBandwidth(long bytesPerSecond) {
    return MAX_BANDWIDTH + bytesPerSecond;
  }

  /** Whether an answer says that a command was carried out. */
  public static boolean isOk(String answer) {
    return answer.equals(OK);
  }

  /**
   * Listens for commands to the migration of a QEMU.
   *
   * @throws Refusal where that cannot be
   */
  static ControlSocket listen(Path folder, Path qmpSocket, UnaryOperator<String> commands) {
    try {
      return ControlSocket.open(folder, qmpSocket, commands);
    } catch (IOException e) {
      throw new Refusal(
          "cannot listen for commands in %s: %s".formatted(folder, e.getMessage()),
          "name another folder with --state-dir");
    }
  }

  static String refused(String reason) {
    return REFUSED + reason;
  }

  static String setMaxBandwidth(String line, BandwidthLimit limit) {
    try {
      if (line.startsWith(MAX_BANDWIDTH)) {
        long bytesPerSecond = Long.parseLong(line.substring(MAX_BANDWIDTH.length()));
        if (bytesPerSecond > 0) {
          limit.change(bytesPerSecond);
          return OK;
        }
      }
    } catch (NumberFormatException e) {
      return refused("not a number of bytes: " + line);
    }
    return refused("unknown command: " + line);
  }
}
