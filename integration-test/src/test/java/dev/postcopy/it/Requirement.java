package dev.postcopy.it;

import java.util.Optional;
import org.junit.jupiter.api.Assertions;
import org.junit.jupiter.api.Assumptions;

/** What happens to a test whose host lacks something. */
final class Requirement {

  private static final boolean IN_CI = Optional.ofNullable(System.getenv("CI")).isPresent();

  private Requirement() {}

  /**
   * The host could have it, and does not: the test is skipped by name at a desk, and fails in CI,
   * where a test that never runs would go unnoticed.
   */
  static void missing(String what) {
    if (IN_CI) {
      Assertions.fail("missing: " + what);
    }
    Assumptions.abort("missing: " + what);
  }

  /** The host cannot have it: the test is skipped by name, everywhere. */
  static void impossible(String what) {
    Assumptions.abort("not possible here: " + what);
  }
}
