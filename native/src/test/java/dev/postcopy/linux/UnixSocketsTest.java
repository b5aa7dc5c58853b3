package dev.postcopy.linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.postcopy.linux.abi.Errno;
import dev.postcopy.linux.abi.Poll;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class UnixSocketsTest {
  private SocketPair sockets;

  @BeforeEach
  void connect() {
    sockets = UnixSockets.socketPair();
  }

  @AfterEach
  void close() {
    sockets.close();
  }

  @Test
  void carriesADescriptorAndItsBytes(@TempDir Path directory) throws Exception {
    Path path = Files.writeString(directory.resolve("file"), "content");
    String payload = "{\"execute\": \"getfd\"}";
    try (OwnedFd file = OwnedFd.open(path.toString(), 0)) {
      UnixSockets.sendWithDescriptor(
          sockets.first().number(), payload.getBytes(StandardCharsets.UTF_8), file.number());
    }

    DescriptorReceiver.Message message =
        DescriptorReceiver.receive(sockets.second().number(), 1024);

    assertThat(message.text()).isEqualTo(payload);
    assertThat(message.descriptors()).as("descriptors received").hasSize(1);
    try (OwnedFd received = OwnedFd.adopt(message.descriptors().getFirst())) {
      assertThat(Path.of("/proc/self/fd/" + received.number()).toRealPath())
          .isEqualTo(path.toRealPath());
    }
  }

  @Test
  void sendsALongPayloadOverAFullNonBlockingSocketAndTheDescriptorOnce() throws Exception {
    byte[] payload = new byte[2_000_000];
    Arrays.fill(payload, (byte) 'x');
    CompletableFuture<Void> sender =
        CompletableFuture.runAsync(
            () -> UnixSockets.sendWithDescriptor(sockets.first().number(), payload, 0));
    int received = 0;
    List<Integer> descriptors = new ArrayList<>();
    while (received < payload.length) {
      assertThat(Poll.poll(sockets.second().number(), Poll.POLLIN, 10_000))
          .as("more of the payload arrives")
          .isEqualTo(Poll.POLLIN);
      var message = DescriptorReceiver.receive(sockets.second().number(), 100_000);
      received += message.text().length();
      descriptors.addAll(message.descriptors());
    }

    sender.join();
    assertThat(received).isEqualTo(payload.length);
    assertThat(descriptors).as("descriptors received").hasSize(1);
    OwnedFd.adopt(descriptors.getFirst()).close();
  }

  @Test
  void saysEpipeWhenThePeerIsGone() {
    sockets.second().close();

    assertThatThrownBy(
            () -> UnixSockets.sendWithDescriptor(sockets.first().number(), new byte[1], 0))
        .isInstanceOfSatisfying(
            LinuxException.class, e -> assertThat(e.errno()).isEqualTo(Errno.EPIPE));
  }

  @Test
  void refusesAnEmptyPayload() {
    assertThatThrownBy(
            () -> UnixSockets.sendWithDescriptor(sockets.first().number(), new byte[0], 0))
        .isInstanceOf(IllegalArgumentException.class);
  }
}
