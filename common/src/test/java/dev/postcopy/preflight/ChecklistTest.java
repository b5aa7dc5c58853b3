package dev.postcopy.preflight;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.postcopy.cli.Refusal;
import dev.postcopy.qmp.QmpException;
import java.util.function.Supplier;
import org.junit.jupiter.api.Test;

final class ChecklistTest {

  private final Checklist list = Checklist.collecting(thrown -> null);

  private static Supplier<String> failing(RuntimeException thrown) {
    return () -> {
      throw thrown;
    };
  }

  @Test
  void tellsEveryCheckInOrderWithItsRemedy() {
    list.require("first", () -> {}, "is well");
    assertThat(list.require("second", failing(new Refusal("is bad", "mend it")), found -> found))
        .isEmpty();
    assertThat(list.require("third", () -> "here", found -> "it is " + found)).contains("here");
    list.warn("fourth", "is short", "renew it");
    list.note("fifth", "is so");

    assertThat(list.checks().stream().map(Check::toString))
        .containsExactly(
            "✓ first: is well",
            "✗ second: is bad; mend it",
            "✓ third: it is here",
            "! fourth: is short; renew it",
            "– fifth: is so");
  }

  @Test
  void onlyWhatFailsCounts() {
    list.require("a", () -> {}, "is well");
    list.warn("b", "is short", "renew it");
    list.note("c", "is so");
    assertThat(list.holds()).isTrue();

    list.require("d", failing(new Refusal("is bad", "mend it")), found -> found);
    assertThat(list.holds()).isFalse();
  }

  @Test
  void aMigrationEndsWithTheFirstThatFails() {
    Checklist strict = Checklist.strict();
    Refusal refusal = new Refusal("is bad", "mend it");

    assertThatThrownBy(() -> strict.require("a", failing(refusal), found -> found))
        .isSameAs(refusal);
  }

  @Test
  void refusalsOfOtherLayersAreToldLikeOurOwn() {
    Checklist other =
        Checklist.collecting(
            thrown -> thrown instanceof ArithmeticException ? new Refusal("odd", "count") : null);
    other.require("a", failing(new ArithmeticException()), found -> found);
    other.require("b", failing(new QmpException("says nothing")), found -> found);
    other.require("c", failing(new IllegalStateException("?")), found -> found);

    assertThat(other.checks().stream().map(Check::toString))
        .containsExactly(
            "✗ a: odd; count",
            "✗ b: says nothing; check that this QEMU answers on its monitor",
            "✗ c: unexpected java.lang.IllegalStateException: ?; report it");
  }

  @Test
  void jsonHasAllOfIt() {
    list.require("a", () -> {}, "is well");
    list.require("b", failing(new Refusal("is \"bad\"", "mend it")), found -> found);

    assertThat(list.toJson())
        .isEqualTo(
            "{\"status\":\"refused\",\"checks\":["
                + "{\"name\":\"a\",\"verdict\":\"ok\",\"finding\":\"is well\",\"remedy\":\"\"},"
                + "{\"name\":\"b\",\"verdict\":\"failed\",\"finding\":\"is \\\"bad\\\"\","
                + "\"remedy\":\"mend it\"}]}");
  }
}
