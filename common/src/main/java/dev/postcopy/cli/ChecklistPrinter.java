package dev.postcopy.cli;

import dev.postcopy.preflight.Checklist;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

/** Shows an operator, or a program, what {@code preflight} found. */
public final class ChecklistPrinter {

  private ChecklistPrinter() {}

  /** Prints the list on standard output; the exit code says whether all holds. */
  public static int print(Checklist list, boolean json) {
    // The signs are not in every locale's character set; in that of every terminal they are.
    PrintStream out =
        new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
    if (json) {
      out.println(list.toJson());
    } else {
      list.checks().forEach(out::println);
    }
    return (list.holds() ? ExitCode.COMPLETED : ExitCode.REFUSED).code();
  }
}
