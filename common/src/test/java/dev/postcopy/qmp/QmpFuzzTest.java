package dev.postcopy.qmp;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.cli.Refusal;
import dev.postcopy.qmp.ScriptedMonitor.Peer;
import dev.postcopy.transport.EventLoops;
import io.netty.channel.IoEventLoopGroup;
import io.netty.util.ResourceLeakDetector;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Random;
import java.util.TreeMap;
import java.util.function.Consumer;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/**
 * A monitor whose answers were true once: cut, doubled, with other types, other ids, other bytes.
 * Whatever it says, what the client's caller sees is an answer or one line that tells what is wrong
 * with it.
 *
 * <p>{@code fuzz.monitors} is how many monitors are asked, {@code fuzz.seed} what they say.
 */
@Timeout(value = 900, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class QmpFuzzTest {

  private static final int MONITORS = Integer.getInteger("fuzz.monitors", 1000);
  private static final long SEED = Long.getLong("fuzz.seed", 20260101);
  private static final IoEventLoopGroup LOOP = EventLoops.named("qmp-fuzz", 1);

  private static final List<String> VALUES =
      List.of(
          "{}",
          "[]",
          "[1,null,{\"id\":{}}]",
          "null",
          "true",
          "\"x\"",
          "\"\\u001b[2J\\n\"",
          "-1",
          "1e400",
          "99999999999999999999",
          "{\"qemu\":{\"major\":8,\"minor\":2,\"micro\":0}}",
          "{\"qemu\":{\"major\":{},\"minor\":\"x\"}}",
          "{\"status\":\"running\",\"max-bandwidth\":5}",
          "{\"status\":[],\"max-bandwidth\":\"all\"}",
          "[{\"id\":\"m0\",\"size\":4096,\"share\":true,\"prealloc\":false}]",
          "[{\"id\":\"m0\",\"size\":\"much\",\"share\":[],\"prealloc\":{}}]",
          "[{\"id\":{},\"size\":-1}]",
          "[{\"capability\":\"events\",\"state\":\"on\"}]",
          "[{\"type\":\"child<vfio-pci>\"},{\"type\":7}]",
          "\"memory-backend-file\"",
          "[{\"path\":\"/machine/d\"},{\"path\":[]}]",
          "{\"num-vqs\":3}",
          "{\"num-vqs\":{}}",
          "{\"vring-desc\":1,\"vring-avail\":-1,\"vring-used\":\"x\"}",
          "\"Host virtual address for 0xc0000 (m0) is 0xffffffffffffffff0\"",
          "[".repeat(600) + "]".repeat(600),
          "[" + "{},".repeat(100_000) + "{}]");

  private static final List<Consumer<Qemu>> QUESTIONS =
      List.of(
          Qemu::version,
          Qemu::runState,
          Qemu::migrationState,
          Qemu::backends,
          Qemu::migrationBlockers,
          Qemu::requireNoForeignMappers,
          Qemu::enabledCapabilities,
          Qemu::maxBandwidth,
          Qemu::cont,
          qemu -> qemu.guestAddresses().virtioRings(64),
          qemu -> qemu.guestAddresses().hostAddressOf(0xC0000),
          Qemu::leavesDescriptionOut,
          qemu -> MigrationSettings.of(qemu).apply());

  private static ResourceLeakDetector.Level levelBefore = ResourceLeakDetector.getLevel();

  @TempDir private Path directory = Path.of("");

  /** The decoder looks at every byte, and the paranoid level would keep a stack trace for each. */
  @BeforeAll
  static void lookForLeaksLessOften() {
    levelBefore = ResourceLeakDetector.getLevel();
    ResourceLeakDetector.setLevel(ResourceLeakDetector.Level.SIMPLE);
  }

  @AfterAll
  static void stopLoop() {
    ResourceLeakDetector.setLevel(levelBefore);
    EventLoops.shutDown(LOOP);
  }

  @Test
  void answersOrSaysInOneLineWhatIsWrong() throws IOException {
    TreeMap<String, Integer> endings = new TreeMap<>();
    for (int round = 0; round < MONITORS; round++) {
      Random random = new Random(SEED + round);
      Path socket = directory.resolve("qmp-" + round);
      long startNanos = System.nanoTime();
      String ending;
      try (ScriptedMonitor _ = new ScriptedMonitor(socket, peer -> babble(peer, random))) {
        ending = ask(socket, QUESTIONS.get(round % QUESTIONS.size()));
      } catch (Throwable e) {
        throw new AssertionError("seed %d, round %d".formatted(SEED, round), e);
      }
      assertThat(ending)
          .as("seed %d, round %d", SEED, round)
          .hasSizeLessThan(2000)
          .doesNotContainPattern("\\p{Cntrl}")
          .doesNotContain("Exception");
      assertThat(Duration.ofNanos(System.nanoTime() - startNanos))
          .as("seed %d, round %d", SEED, round)
          .isLessThan(QmpClient.COMMAND_TIMEOUT);
      endings.merge(ending.replaceFirst("^[a-z_-]+: |(?<=socket ).*", ""), 1, Integer::sum);
    }
    assertThat(endings)
        .as("all of the endings that there are")
        .containsKeys(
            "answered",
            "QEMU is gone",
            "QEMU's monitor sent what is not QMP",
            "an answer of the wrong types");
  }

  /** What the caller of {@code question} gets. */
  private static String ask(Path socket, Consumer<Qemu> question) {
    try (QmpClient client = QmpClient.connect(LOOP, socket)) {
      question.accept(new Qemu(client));
      return "answered";
    } catch (QmpException | Refusal e) {
      return String.valueOf(e.getMessage());
    }
  }

  /** Breaks off sooner or later, so that nobody has to wait for a time limit. */
  private static void babble(Peer peer, Random random) throws IOException {
    peer.greet();
    for (int i = 0; i < 20 && random.nextInt(20) != 0; i++) {
      String command = peer.awaitCommand();
      StringBuilder said = new StringBuilder();
      for (int extra = random.nextInt(3); extra > 0; extra--) {
        said.append(message(Integer.toString(100 + random.nextInt(50)), random));
      }
      switch (random.nextInt(6)) {
        case 0 -> {
          peer.send(broken(said + message(Peer.id(command), random), random));
          return;
        }
        case 1 -> {
          peer.send(said + message(pick(VALUES, random), random));
          return;
        }
        default ->
            peer.send(
                said
                    + "{\"return\":%s,\"id\":%s}\n"
                        .formatted(pick(VALUES, random), Peer.id(command)));
      }
    }
  }

  private static String message(String id, Random random) {
    String value = pick(VALUES, random);
    return switch (random.nextInt(8)) {
      case 0 -> "{\"event\":%s,\"data\":%s}\n".formatted(pick(VALUES, random), value);
      case 1 -> "{\"error\":%s,\"id\":%s}\n".formatted(value, id);
      case 2 -> "{\"error\":{\"desc\":%s},\"id\":%s}\n".formatted(value, id);
      default -> "{\"return\":%s,\"id\":%s}\n".formatted(value, id);
    };
  }

  private static String broken(String text, Random random) {
    int at = random.nextInt(text.length());
    return switch (random.nextInt(6)) {
      case 0 -> text.substring(0, at);
      case 1 -> text.substring(at);
      case 2 -> text.substring(0, at) + text;
      case 3 -> text.substring(0, at) + (char) random.nextInt(0x250) + text.substring(at + 1);
      default -> text;
    };
  }

  private static String pick(List<String> values, Random random) {
    return values.get(random.nextInt(values.size()));
  }
}
