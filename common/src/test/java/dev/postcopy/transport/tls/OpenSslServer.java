package dev.postcopy.transport.tls;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.file.Path;

/** {@code openssl s_server}: a destination that our own code would not be. */
final class OpenSslServer implements AutoCloseable {

  private final Process process;
  private final InetSocketAddress address;

  private OpenSslServer(Process process, InetSocketAddress address) {
    this.process = process;
    this.address = address;
  }

  /**
   * On a free port of the loop-back address.
   *
   * @param version as s_server has it, {@code -tls1_2}
   */
  static OpenSslServer start(Path certificates, String version) throws IOException {
    int port;
    try (ServerSocket free = new ServerSocket(0)) {
      port = free.getLocalPort();
    }
    Process process =
        new ProcessBuilder(
                "openssl",
                "s_server",
                "-accept",
                "127.0.0.1:" + port,
                version,
                "-quiet",
                "-cert",
                certificates.resolve("cert.pem").toString(),
                "-key",
                certificates.resolve("key.pem").toString())
            .redirectErrorStream(true)
            .redirectOutput(ProcessBuilder.Redirect.DISCARD)
            .start();
    InetSocketAddress address = new InetSocketAddress(InetAddress.getLoopbackAddress(), port);
    OpenSslServer server = new OpenSslServer(process, address);
    server.awaitListening();
    return server;
  }

  private void awaitListening() throws IOException {
    IOException last = new IOException("not tried");
    for (int i = 0; i < 200; i++) {
      try (Socket socket = new Socket(address.getAddress(), address.getPort())) {
        if (socket.isConnected()) {
          return;
        }
      } catch (IOException e) {
        last = e;
        pause();
      }
    }
    throw last;
  }

  private static void pause() {
    try {
      Thread.sleep(50);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  InetSocketAddress address() {
    return address;
  }

  @Override
  public void close() {
    process.destroyForcibly();
  }
}
