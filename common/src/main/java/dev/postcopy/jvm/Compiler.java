package dev.postcopy.jvm;

/**
 * What the JVM's quick compiler waits for. A switch-over is rehearsed for as long as that takes,
 * and longer: a method that is one call short of it is compiled in the switch-over itself, on a
 * processor that the guest waits for.
 */
public final class Compiler {

  /**
   * How often a method is to be called, so that it is compiled already when it counts. The
   * interpreter looks at its counter every 128 calls (JDK: Tier0InvokeNotifyFreqLog, globals.hpp),
   * and has it compiled above 200 (Tier3InvocationThreshold), or as many times more as there are
   * fives of methods that wait for the compiler (Tier3LoadFeedback, compilationPolicy.cpp): so the
   * 256th call does it where none waits, and the 640th where ten do.
   */
  public static final int ENOUGH_CALLS = 640;

  /** For what takes a millisecond a call: enough where at most four methods wait. */
  public static final int ENOUGH_SLOW_CALLS = 384;

  private Compiler() {}
}
