package dev.postcopy.source.session;

import dev.postcopy.cli.Refusal;
import dev.postcopy.control.Answers;
import dev.postcopy.control.ControlSocket;
import dev.postcopy.transport.EventLoops;
import io.netty.channel.IoEventLoopGroup;
import java.nio.file.Path;
import tools.jackson.databind.JsonNode;

/** How an operator's commands reach a session while it runs. */
@FunctionalInterface
public interface Commands {

  String CANCEL = "cancel";
  String MAX_BANDWIDTH = "set-max-bandwidth";

  /** The field of {@link #MAX_BANDWIDTH} with the bytes a second. */
  String BYTES_PER_SECOND = "bytes_per_second";

  /** Open as long as the session runs. */
  interface Open extends AutoCloseable {

    @Override
    void close();
  }

  /**
   * Called when the session holds QEMU's monitor, and so is the only one for it.
   *
   * @throws Refusal where commands cannot be heard
   */
  Open open(Path qmpSocket, SourceSession session);

  /** Whoever runs the session gives it commands himself. */
  static Commands none() {
    return (qmpSocket, session) -> () -> {};
  }

  /** On a socket in the state folder that is named by QEMU's monitor. */
  static Commands ofOneSession(Path stateFolder) {
    return (qmpSocket, session) -> {
      IoEventLoopGroup loop = EventLoops.named("commands", 1);
      ControlSocket socket =
          ControlSocket.open(
              loop.next(),
              ControlSocket.ofMonitor(stateFolder, qmpSocket),
              (request, answers) -> answer(session, request, answers));
      return () -> {
        socket.close();
        EventLoops.shutDown(loop);
      };
    };
  }

  private static void answer(SourceSession session, JsonNode request, Answers answers) {
    switch (request.path("command").asString("")) {
      case CANCEL -> {
        var _ =
            session
                .cancelAndTell()
                .thenAccept(
                    obstacle ->
                        obstacle.ifPresentOrElse(
                            why -> answers.refuse(new Refusal(why, "wait for its end")),
                            answers::done));
      }
      case MAX_BANDWIDTH -> setMaxBandwidth(session, request, answers);
      default ->
          throw new Refusal(
              "unknown command " + request.path("command"), "use the source-agent of this version");
    }
  }

  /**
   * Does what {@link #MAX_BANDWIDTH} asks for.
   *
   * @throws Refusal where that is not a rate
   */
  static void setMaxBandwidth(SourceSession session, JsonNode request, Answers answers) {
    long bytesPerSecond = request.path(BYTES_PER_SECOND).asLong(0);
    if (bytesPerSecond <= 0) {
      throw new Refusal("not a rate: " + bytesPerSecond, "give bytes a second");
    }
    session.setMaxBandwidth(bytesPerSecond);
    answers.done();
  }
}
