package dev.postcopy.cli;

/**
 * A migration that is not begun: nothing was touched, the guest goes on. One line for an operator.
 */
public final class Refusal extends RuntimeException {

  private static final long serialVersionUID = 1L;

  private final String reason;
  private final String remedy;

  /**
   * @param reason what is in the way, without a full stop
   * @param remedy what the operator can do about it
   */
  public Refusal(String reason, String remedy) {
    super(reason + "; " + remedy);
    this.reason = reason;
    this.remedy = remedy;
  }

  /** The refusal whose line was read where it was made elsewhere. */
  public static Refusal ofMessage(String message) {
    int end = message.indexOf("; ");
    return end < 0
        ? new Refusal(message, "look at the agent's log")
        : new Refusal(message.substring(0, end), message.substring(end + 2));
  }

  public String reason() {
    return reason;
  }

  public String remedy() {
    return remedy;
  }

  /** The line that an operator reads. */
  @Override
  public String getMessage() {
    return reason + "; " + remedy;
  }
}
