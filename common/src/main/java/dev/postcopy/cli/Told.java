package dev.postcopy.cli;

import java.util.function.IntSupplier;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Runs a command that talks to an agent at work: what it refuses is one line and an exit code. */
public final class Told {

  private Told() {}

  /**
   * @param talk returns the exit code
   */
  public static int exitCode(IntSupplier talk) {
    try {
      return talk.getAsInt();
    } catch (Refusal e) {
      return refused(e);
    }
  }

  /**
   * The same for a command that prints nothing where all went well.
   *
   * @param json whether a program wants to know: {@code {"status": "ok"}}, or {@code {"status":
   *     "refused", "reason"}}
   */
  public static int exitCode(boolean json, Runnable talk) {
    ObjectNode answer = JsonNodeFactory.instance.objectNode();
    int code;
    try {
      talk.run();
      answer.put("status", "ok");
      code = ExitCode.COMPLETED.code();
    } catch (Refusal e) {
      answer.put("status", "refused").put("reason", e.getMessage());
      code = refused(e);
    }
    if (json) {
      System.out.println(answer);
    }
    return code;
  }

  private static int refused(Refusal refusal) {
    System.err.println("refused: " + refusal.getMessage());
    return ExitCode.REFUSED.code();
  }
}
