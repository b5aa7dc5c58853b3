package dev.postcopy.source.cli;

import dev.postcopy.cli.ExitCode;
import dev.postcopy.cli.Refusal;
import dev.postcopy.source.session.Commands;
import java.util.function.Supplier;

/** Shows an operator what a running migration answered. */
final class Answer {

  private Answer() {}

  static int exitCode(Supplier<String> asked) {
    String answer;
    try {
      answer = asked.get();
    } catch (Refusal e) {
      answer = "refused: " + e.getMessage();
    }
    if (Commands.isOk(answer)) {
      return ExitCode.COMPLETED.code();
    }
    System.err.println(answer);
    return ExitCode.REFUSED.code();
  }
}
