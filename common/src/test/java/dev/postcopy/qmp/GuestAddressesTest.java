package dev.postcopy.qmp;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.qmp.ScriptedMonitor.Peer;
import dev.postcopy.transport.EventLoops;
import io.netty.channel.IoEventLoopGroup;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalLong;
import java.util.function.Function;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** What is made of QEMU's answers about its guest's memory; real ones are for MigrationIT. */
@Timeout(60)
class GuestAddressesTest {

  private static final IoEventLoopGroup LOOP = EventLoops.named("addresses-test", 1);

  @TempDir private Path directory = Path.of("");

  @AfterAll
  static void stopLoop() {
    EventLoops.shutDown(LOOP);
  }

  /** A QEMU with two devices: the newer has two queues, of which one is set up. */
  private static String answer(String command) {
    if (command.contains("x-query-virtio-queue-status")) {
      boolean older = command.contains("/older");
      boolean first = command.contains("\"queue\":0");
      int ring = older ? 0x5000 : first ? 0x1000 : 0;
      return "{\"vring-desc\":%d,\"vring-avail\":%d,\"vring-used\":%d}"
          .formatted(ring, ring + 0x800, ring + 0x1000);
    }
    if (command.contains("x-query-virtio-status")) {
      return "{\"num-vqs\":%d}".formatted(command.contains("/older") ? 1 : 2);
    }
    return "[{\"path\":\"/newer\"},{\"path\":\"/older\"}]";
  }

  @Test
  void theRingsOfQueuesThatAreSetUpAreNamedInTheOrderInWhichTheyAreLoaded() throws IOException {
    assertThat(rings(GuestAddressesTest::answer, 100))
        .containsExactly(0x5800L, 0x6000L, 0x1800L, 0x2000L);
  }

  @Test
  void noMoreRingsAreAskedForThanAreWanted() throws IOException {
    assertThat(rings(GuestAddressesTest::answer, 3)).containsExactly(0x5800L, 0x6000L);
  }

  @Test
  void aQemuThatDoesNotKnowTheCommandHasNoRings() throws IOException {
    assertThat(rings(command -> "", 100)).isEmpty();
  }

  @Test
  void anAddressInQemuIsFoundInItsWords() throws IOException {
    assertThat(address("Host virtual address for 0xc0000 (ram0) is 0x7f7e0c0bf000"))
        .hasValue(0x7f7e0c0bf000L);
  }

  @Test
  void whereThereIsNoRamThereIsNoAddress() throws IOException {
    assertThat(address("Memory at address 0xfee00000is not RAM")).isEmpty();
  }

  private List<Long> rings(Function<String, String> answers, int limit) throws IOException {
    return ask(answers, addresses -> addresses.virtioRings(limit));
  }

  private OptionalLong address(String answer) throws IOException {
    return ask(
        command -> "\"" + answer + "\\r\\n\"", addresses -> addresses.hostAddressOf(0xC0000));
  }

  /**
   * @param answers the answer to a command; empty for an error
   */
  private <T> T ask(Function<String, String> answers, Function<GuestAddresses, T> question)
      throws IOException {
    Path socket = directory.resolve("qmp");
    try (ScriptedMonitor _ = new ScriptedMonitor(socket, peer -> serve(peer, answers));
        QmpClient client = QmpClient.connect(LOOP, socket)) {
      return question.apply(new Qemu(client).guestAddresses());
    }
  }

  private static void serve(Peer peer, Function<String, String> answers) throws IOException {
    peer.greet();
    for (String command = peer.awaitCommand(); !command.isEmpty(); command = peer.awaitCommand()) {
      String answer = answers.apply(command);
      if (answer.isEmpty()) {
        peer.send(
            "{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"unknown\"},\"id\":%s}\n"
                .formatted(Peer.id(command)));
      } else {
        peer.answer(command, answer);
      }
    }
  }
}
