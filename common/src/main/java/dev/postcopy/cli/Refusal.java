package dev.postcopy.cli;

/**
 * A migration that is not begun: nothing was touched, the guest goes on. One line for an operator.
 */
public final class Refusal extends RuntimeException {

  private static final long serialVersionUID = 1L;

  private final String reason;
  private final String remedy;
  private final boolean passing;

  /**
   * @param reason what is in the way, without a full stop
   * @param remedy what the operator can do about it
   */
  public Refusal(String reason, String remedy) {
    this(reason, remedy, false);
  }

  private Refusal(String reason, String remedy, boolean passing) {
    super(reason + "; " + remedy);
    this.reason = reason;
    this.remedy = remedy;
    this.passing = passing;
  }

  /** One that may not be made the next time, though nobody does anything: the host changes. */
  public static Refusal passing(String reason, String remedy) {
    return new Refusal(reason, remedy, true);
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

  /** Whether it may be worth trying again, with nothing changed by an operator. */
  public boolean mayPass() {
    return passing;
  }

  /** The line that an operator reads. */
  @Override
  public String getMessage() {
    return reason + "; " + remedy;
  }
}
