package dev.postcopy.preflight;

/**
 * One thing that was looked at.
 *
 * @param name what, in a few words
 * @param finding what was found
 * @param remedy what an operator can do; empty where nothing need be done
 */
public record Check(String name, Verdict verdict, String finding, String remedy) {

  /** What a finding means for a migration. */
  public enum Verdict {
    HOLDS("✓"),
    FAILS("✗"),
    /** It holds, but may not for long, or not for every guest. */
    WARNS("!"),
    /** Good to know, or not looked at. */
    NOTES("–");

    private final String sign;

    Verdict(String sign) {
      this.sign = sign;
    }
  }

  /** A line for an operator. */
  @Override
  public String toString() {
    String line = "%s %s: %s".formatted(verdict.sign, name, finding);
    return remedy.isEmpty() ? line : line + "; " + remedy;
  }
}
