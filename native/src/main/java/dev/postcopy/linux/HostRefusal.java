package dev.postcopy.linux;

/**
 * This host or process cannot do what is needed. The message is one line: the reason and a remedy.
 */
public final class HostRefusal extends RuntimeException {
  private final String reason;
  private final String remedy;

  public HostRefusal(String reason, String remedy) {
    super(reason + "; " + remedy);
    this.reason = reason;
    this.remedy = remedy;
  }

  /** What is missing or in the way. */
  public String reason() {
    return reason;
  }

  /** What the operator can do about it. */
  public String remedy() {
    return remedy;
  }
}
