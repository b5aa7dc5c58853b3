package dev.postcopy.control;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.postcopy.cli.Refusal;
import dev.postcopy.transport.EventLoops;
import io.netty.channel.IoEventLoopGroup;
import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

@Timeout(value = 60, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class ControlSocketTest {

  private static Refusal none() {
    return new Refusal("nobody is here", "start one");
  }

  @TempDir private Path folder;
  private final IoEventLoopGroup loops = EventLoops.named("control", 1);

  @AfterEach
  void endLoops() {
    EventLoops.shutDown(loops);
  }

  private Path file() {
    return ControlSocket.ofDaemon(folder, "agent");
  }

  private ControlSocket open(ControlSocket.Commands commands) {
    return ControlSocket.open(loops.next(), file(), commands);
  }

  private static ObjectNode command(String name) {
    return JsonNodeFactory.instance.objectNode().put("command", name);
  }

  /** Says the command's name back, as often as a caller listens to. */
  private static void echo(JsonNode request, Answers answers) {
    ObjectNode answer = JsonNodeFactory.instance.objectNode();
    answers.send(answer.put("heard", request.path("command").asString()));
    answers.send(answer.put("heard", "again"));
    answers.done();
  }

  @Test
  void answersInTheirOrderAndThenEnds() {
    try (ControlSocket _ = open(ControlSocketTest::echo);
        ControlClient client =
            ControlClient.ask(file(), command("cancel"), ControlSocketTest::none)) {
      assertThat(client.only().path("heard").asString()).isEqualTo("cancel");
      assertThat(client.only().path("heard").asString()).isEqualTo("again");
      assertThat(client.only().path("done").asBoolean()).isTrue();
      assertThat(client.next()).isNull();
    }
  }

  @Test
  void isForItsOwnerAndGroupAndGoesWithItsAgent() throws IOException {
    try (ControlSocket _ = open(ControlSocketTest::echo)) {
      assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(file())))
          .isEqualTo("rw-rw----");
      try (var files = Files.list(folder)) {
        assertThat(files).as("beside the socket nothing").containsExactly(file());
      }
    }
    assertThat(folder).isEmptyDirectory();
  }

  @Test
  void aRefusalIsTheSameOnBothSides() {
    try (ControlSocket _ =
            open(
                (request, answers) -> {
                  throw new Refusal("no such VM", "name another");
                });
        ControlClient client =
            ControlClient.ask(file(), command("cancel"), ControlSocketTest::none)) {
      assertThatThrownBy(client::next)
          .isInstanceOfSatisfying(
              Refusal.class,
              refusal -> {
                assertThat(refusal.reason()).isEqualTo("no such VM");
                assertThat(refusal.remedy()).isEqualTo("name another");
              });
    }
  }

  @Test
  void anAgentThatDiesInTheMiddleOfAnAnswerHasEndedAndHasNotRefused() throws IOException {
    try (ServerSocketChannel agent = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
      agent.bind(UnixDomainSocketAddress.of(file()));
      try (ControlClient client =
          ControlClient.ask(file(), command("follow"), ControlSocketTest::none)) {
        try (SocketChannel dying = agent.accept()) {
          dying.write(ByteBuffer.wrap("{\"n\":1}\n{\"n\":".getBytes(StandardCharsets.UTF_8)));
        }
        assertThat(client.only().path("n").asInt()).isEqualTo(1);
        assertThat(client.next()).isNull();
        assertThatThrownBy(client::only)
            .isInstanceOf(Refusal.class)
            .hasMessageContaining("the agent has ended");
      }
    }
  }

  @Test
  void whatIsNotJsonIsRefused() throws IOException {
    try (ControlSocket _ = open(ControlSocketTest::echo)) {
      assertThat(raw("cancel\n")).contains("not JSON");
    }
  }

  @Test
  void aLineThatDoesNotEndClosesTheConnection() throws IOException {
    try (ControlSocket _ = open(ControlSocketTest::echo)) {
      assertThat(raw("x".repeat(10_000))).isEmpty();
    }
  }

  private String raw(String bytes) throws IOException {
    try (SocketChannel channel = SocketChannel.open(StandardProtocolFamily.UNIX)) {
      channel.connect(UnixDomainSocketAddress.of(file()));
      channel.write(ByteBuffer.wrap(bytes.getBytes(StandardCharsets.UTF_8)));
      return new String(Channels.newInputStream(channel).readAllBytes(), StandardCharsets.UTF_8);
    } catch (IOException e) {
      return "";
    }
  }

  @Test
  void aSecondAgentIsRefusedAndTheFirstGoesOn() {
    try (ControlSocket _ = open(ControlSocketTest::echo)) {
      assertThatThrownBy(() -> open(ControlSocketTest::echo))
          .isInstanceOf(Refusal.class)
          .hasMessageContaining("another agent is at work");
      try (ControlClient client =
          ControlClient.ask(file(), command("list"), ControlSocketTest::none)) {
        assertThat(client.only().path("heard").asString()).isEqualTo("list");
      }
    }
  }

  @Test
  void whatAnAgentLeftThatDiedIsReplaced() throws IOException {
    try (SocketChannel dead = SocketChannel.open(StandardProtocolFamily.UNIX)) {
      dead.bind(UnixDomainSocketAddress.of(file()));
    }
    assertThat(file()).exists();
    assertThatThrownBy(() -> ControlClient.ask(file(), command("list"), ControlSocketTest::none))
        .hasMessageContaining("nobody is here");
    try (ControlSocket _ = open(ControlSocketTest::echo);
        ControlClient client =
            ControlClient.ask(file(), command("list"), ControlSocketTest::none)) {
      assertThat(client.only().path("heard").asString()).isEqualTo("list");
    }
  }

  @Test
  void aMonitorIsTheSameByAnyWayToIt() {
    assertThat(ControlSocket.ofMonitor(folder, Path.of("/run/vm/../vm/one.qmp")))
        .isEqualTo(ControlSocket.ofMonitor(folder, Path.of("/run/vm/one.qmp")))
        .isNotEqualTo(ControlSocket.ofMonitor(folder, Path.of("/run/vm/two.qmp")));
  }
}
