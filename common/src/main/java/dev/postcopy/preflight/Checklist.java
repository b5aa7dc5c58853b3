package dev.postcopy.preflight;

import dev.postcopy.cli.Refusal;
import dev.postcopy.preflight.Check.Verdict;
import dev.postcopy.qmp.QmpException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Function;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import tools.jackson.databind.json.JsonMapper;

/**
 * Runs checks that are refusals elsewhere: a migration ends with the first that fails, preflight
 * goes on and tells them all. For one thread.
 */
public final class Checklist {

  private static final Logger log = LoggerFactory.getLogger(Checklist.class);

  private final @Nullable Function<RuntimeException, @Nullable Refusal> asRefusal;
  private final List<Check> checks = new ArrayList<>();

  private Checklist(@Nullable Function<RuntimeException, @Nullable Refusal> asRefusal) {
    this.asRefusal = asRefusal;
  }

  /** For a migration: what fails is thrown as it is, and a warning goes to the log. */
  public static Checklist strict() {
    return new Checklist(null);
  }

  /**
   * For an operator: what fails is noted.
   *
   * @param asRefusal recognises refusals that other layers express in their own way; null for what
   *     is none
   */
  public static Checklist collecting(Function<RuntimeException, @Nullable Refusal> asRefusal) {
    return new Checklist(asRefusal);
  }

  /**
   * Runs a check.
   *
   * @param step throws a refusal where it does not hold
   * @param finding tells what was found where it does
   * @return what the step returned; empty where it failed, and what depends on it is left out
   */
  public <T> Optional<T> require(String name, Supplier<T> step, Function<T, String> finding) {
    T found;
    try {
      found = step.get();
    } catch (RuntimeException e) {
      if (asRefusal == null) {
        throw e;
      }
      checks.add(failed(name, e, asRefusal));
      return Optional.empty();
    }
    checks.add(new Check(name, Verdict.HOLDS, finding.apply(found), ""));
    return Optional.of(found);
  }

  /** A check that finds nothing but that it holds. */
  public void require(String name, Runnable step, String finding) {
    var _ =
        require(
            name,
            () -> {
              step.run();
              return true;
            },
            holds -> finding);
  }

  private static Check failed(
      String name,
      RuntimeException thrown,
      Function<RuntimeException, @Nullable Refusal> asRefusal) {
    Refusal refusal = thrown instanceof Refusal own ? own : asRefusal.apply(thrown);
    if (refusal != null) {
      return new Check(name, Verdict.FAILS, refusal.reason(), refusal.remedy());
    }
    String message = String.valueOf(thrown.getMessage());
    return thrown instanceof QmpException
        ? new Check(name, Verdict.FAILS, message, "check that this QEMU answers on its monitor")
        : new Check(name, Verdict.FAILS, "unexpected " + thrown, "report it");
  }

  /** Something that does not keep a guest from moving, but may soon, or another guest. */
  public void warn(String name, String finding, String remedy) {
    if (asRefusal == null) {
      log.warn("{}: {}; {}", name, finding, remedy);
    }
    checks.add(new Check(name, Verdict.WARNS, finding, remedy));
  }

  /** Something that holds, and was looked at in another way. */
  public void hold(String name, String finding) {
    checks.add(new Check(name, Verdict.HOLDS, finding, ""));
  }

  /** Something that is good to know. */
  public void note(String name, String finding) {
    checks.add(new Check(name, Verdict.NOTES, finding, ""));
  }

  /** Whether every check holds, as far as a migration is concerned. */
  public boolean holds() {
    return checks.stream().noneMatch(check -> check.verdict() == Verdict.FAILS);
  }

  /** All checks, in the order in which they were made. */
  public List<Check> checks() {
    return List.copyOf(checks);
  }

  /** {@code {"status": "ok" | "refused", "checks": [{"name", "verdict", "finding", "remedy"}]}}. */
  public String toJson() {
    List<Map<String, String>> list = new ArrayList<>();
    for (Check check : checks) {
      Map<String, String> fields = new LinkedHashMap<>();
      fields.put("name", check.name());
      fields.put(
          "verdict",
          switch (check.verdict()) {
            case HOLDS -> "ok";
            case FAILS -> "failed";
            case WARNS -> "warning";
            case NOTES -> "note";
          });
      fields.put("finding", check.finding());
      fields.put("remedy", check.remedy());
      list.add(fields);
    }
    Map<String, Object> all = new LinkedHashMap<>();
    all.put("status", holds() ? "ok" : "refused");
    all.put("checks", list);
    return JsonMapper.shared().writeValueAsString(all);
  }
}
