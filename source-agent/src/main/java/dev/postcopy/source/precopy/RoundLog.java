package dev.postcopy.source.precopy;

import java.util.ArrayList;
import java.util.List;

/**
 * The rounds of one migration. What it holds is bounded: when it is full the newest takes the place
 * of the one before it.
 */
public final class RoundLog {

  static final int MAX_ROUNDS = 100;

  private final List<Round> rounds = new ArrayList<>();

  public void add(Round round) {
    if (rounds.size() == MAX_ROUNDS) {
      rounds.removeLast();
    }
    rounds.add(round);
  }

  /** In order; their numbers say whether some are missing. */
  public List<Round> list() {
    return List.copyOf(rounds);
  }
}
