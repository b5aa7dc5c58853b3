package dev.postcopy.transport.tls;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.postcopy.cli.HostAndPort;
import dev.postcopy.cli.Refusal;
import dev.postcopy.memory.RamLayout;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.EventLoops;
import dev.postcopy.transport.Probe;
import dev.postcopy.transport.Transport;
import dev.postcopy.wire.CloseCause;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.ControlFrame.Standing;
import dev.postcopy.wire.FrameSink;
import dev.postcopy.wire.Wire;
import io.netty.buffer.ByteBuf;
import io.netty.channel.Channel;
import io.netty.channel.IoEventLoopGroup;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Two ends of the real transport on the loop-back address, with certificates of openssl. */
final class TlsTransportTest {

  private static final int PATIENCE_SECONDS = 20;
  private static final int CONNECT_MILLIS = 5000;
  private static final String BY_ADDRESS = "IP:127.0.0.1";

  private final IoEventLoopGroup loops = EventLoops.named("tls-test", 2);
  private final List<Socket> strangers = new ArrayList<>();
  private @Nullable Channel listening;
  private final Side server = new Side();
  private final Side client = new Side();

  @TempDir
  @SuppressWarnings("NullAway.Init") // set before each test
  private Path temp;

  @SuppressWarnings("NullAway.Init") // set before each test
  private TestAuthority authority;

  /** One end: what it was told, and its connection. */
  private static final class Side implements FrameSink {
    final BlockingQueue<String> told = new LinkedBlockingQueue<>();
    final BlockingQueue<Connection> made = new LinkedBlockingQueue<>();

    /** What is said to the first word of a peer, before the connection is closed. */
    private volatile @Nullable ControlFrame answer;

    private volatile @Nullable Connection newest;

    FrameSink on(Connection connection) {
      newest = connection;
      made.add(connection);
      return this;
    }

    @Override
    public void onControl(ControlFrame frame) {
      told.add(frame.toString());
      ControlFrame said = answer;
      Connection connection = newest;
      if (said != null && connection != null) {
        connection.sendAndClose(said);
      }
    }

    @Override
    public void onPages(int first, int count, ByteBuf pages) {
      byte[] arrived = new byte[count * RamLayout.PAGE_BYTES];
      pages.getBytes(pages.readerIndex(), arrived);
      if (!Arrays.equals(arrived, content(first, count))) {
        told.add("wrong content of " + first);
        return;
      }
      told.add(first + "+" + count);
    }

    @Override
    public void onClosed(CloseCause cause) {
      told.add("closed: " + cause.text());
    }

    String next() throws InterruptedException {
      return String.valueOf(told.poll(PATIENCE_SECONDS, TimeUnit.SECONDS));
    }

    Connection connection() throws InterruptedException {
      Connection connection = made.poll(PATIENCE_SECONDS, TimeUnit.SECONDS);
      if (connection == null) {
        throw new AssertionError("no connection was made");
      }
      return connection;
    }
  }

  private static byte[] content(int first, int count) {
    byte[] bytes = new byte[count * RamLayout.PAGE_BYTES];
    for (int page = 0; page < count; page++) {
      int start = page * RamLayout.PAGE_BYTES;
      Arrays.fill(bytes, start, start + RamLayout.PAGE_BYTES, (byte) (1 + (first + page) % 100));
    }
    return bytes;
  }

  private static void sendPages(Connection connection, int first, int count) {
    connection.execute(
        () -> {
          ByteBuf frame = connection.writer().beginPages(first, count);
          connection.write(connection.writer().seal(frame.writeBytes(content(first, count))));
          connection.flush();
        });
  }

  @BeforeEach
  void createAuthority() {
    authority = TestAuthority.create(temp.resolve("ca"));
  }

  @AfterEach
  void close() throws IOException {
    for (Socket stranger : strangers) {
      stranger.close();
    }
    if (listening != null) {
      listening.close().syncUninterruptibly();
    }
    EventLoops.shutDown(loops);
  }

  private void listen(Path certificates) {
    listen(Optional.of(TlsEndpoint.listening(certificates)));
  }

  private void listen(Optional<TlsEndpoint> tls) {
    listening = Transport.listen(loops, loops, new HostAndPort("127.0.0.1", 0), tls, server::on);
  }

  private InetSocketAddress address() {
    if (listening == null) {
      throw new IllegalStateException("nobody listens");
    }
    return Transport.localAddress(listening);
  }

  private Connection connect(Path certificates, String name) throws IOException {
    return connect(Optional.of(TlsEndpoint.connecting(certificates, name)));
  }

  private Connection connect(Optional<TlsEndpoint> tls) throws IOException {
    return Transport.connect(loops, address(), CONNECT_MILLIS, tls, client::on);
  }

  private void requireFails(Path certificates, String name, String... words) {
    assertThatThrownBy(() -> connect(certificates, name))
        .isInstanceOf(TlsFailure.class)
        .hasMessageContainingAll(words);
    assertThat(client.told).isEmpty();
  }

  private Path destination() {
    return authority.issue("destination", "DNS:dest.example", BY_ADDRESS);
  }

  private Path source() {
    return authority.issue("source", "DNS:source.example");
  }

  @Test
  void bothSidesKnowEachOtherByName() throws Exception {
    listen(destination());
    Connection connection = connect(source(), "127.0.0.1");
    connection.send(new ControlFrame.Ready());

    assertThat(server.next()).startsWith("Ready");
    assertThat(server.connection().peerNames()).containsExactly("source", "source.example");
    assertThat(connection.peerNames()).containsExactly("127.0.0.1", "dest.example", "destination");
  }

  @Test
  void pagesOfEverySizeArriveWholeAcrossTlsRecords() throws Exception {
    listen(destination());
    Connection connection = connect(source(), "127.0.0.1");
    List<String> sent = new ArrayList<>();
    for (int i = 0; i < 200; i++) {
      int count = 1 + i % 64;
      int first = 1000 * i;
      sent.add(first + "+" + count);
      sendPages(connection, first, count);
    }
    for (String expected : sent) {
      assertThat(server.next()).isEqualTo(expected);
    }
  }

  @Test
  void theLastWordArrivesBehindAllThatWaitsInTheSocket() throws Exception {
    listen(destination());
    Connection connection = connect(source(), "127.0.0.1");
    Connection accepted = server.connection();
    accepted.setReading(false);
    int frames = 32;
    for (int i = 0; i < frames; i++) {
      sendPages(connection, i * 64, 64);
    }
    connection.execute(() -> accepted.setReading(true));

    assertThat(connection.sendLast(new ControlFrame.Abort("enough"))).isTrue();
    for (int i = 0; i < frames; i++) {
      assertThat(server.next()).isEqualTo(i * 64 + "+64");
    }
    assertThat(server.next()).isEqualTo("Abort[reason=enough]");
    assertThat(server.next()).isEqualTo("closed: the peer closed the connection");
  }

  @Test
  void aDestinationOfAnotherAuthorityIsNotBelieved() throws Exception {
    listen(TestAuthority.create(temp.resolve("other")).issue("destination", BY_ADDRESS));

    requireFails(source(), "127.0.0.1", "authority that is not trusted here", "ca.pem");
  }

  @Test
  void aSourceOfAnotherAuthorityIsSentAwayAndToldWhy() throws Exception {
    Path stranger = TestAuthority.create(temp.resolve("other")).issue("source", "DNS:source");
    Files.copy(
        temp.resolve("ca/ca.pem"), stranger.resolve("ca.pem"), StandardCopyOption.REPLACE_EXISTING);
    listen(destination());
    connect(stranger, "127.0.0.1").send(new ControlFrame.Ready());

    assertThat(client.next()).contains("TLS: ", "does not take our certificate");
    assertThat(server.told).isEmpty();
    assertThat(server.made).isEmpty();
  }

  @Test
  void aDestinationWithAnotherNameIsNotBelieved() throws Exception {
    listen(destination());

    requireFails(source(), "dest2.example", "is not for that name", "--tls-name");
    requireFails(source(), "127.0.0.2", "is not for that name", "--tls-name");
    assertThat(connect(source(), "dest.example").peerNames()).contains("dest.example");
  }

  @Test
  void anAgentWhoseOwnCertificateHasExpiredSaysSo() throws Exception {
    Path expired = authority.issueExpired("expired", BY_ADDRESS);

    assertThatThrownBy(() -> TlsEndpoint.listening(expired))
        .isInstanceOf(Refusal.class)
        .hasMessageContainingAll(expired.resolve("cert.pem").toString(), "ended on");
  }

  @Test
  void aCertificateThatExpiresLaterIsNotBelievedAnyMore() throws Exception {
    try (OpenSslServer old =
        OpenSslServer.start(authority.issueExpired("expired", BY_ADDRESS), "-tls1_3")) {
      TlsEndpoint source = TlsEndpoint.connecting(source(), "127.0.0.1");

      assertThatThrownBy(
              () ->
                  Transport.connect(
                      loops, old.address(), CONNECT_MILLIS, Optional.of(source), client::on))
          .isInstanceOf(TlsFailure.class)
          .hasMessageContainingAll("has expired", "new one");
    }
  }

  @Test
  void olderVersionsOfTlsAreNotSpoken() throws Exception {
    try (OpenSslServer old = OpenSslServer.start(destination(), "-tls1_2")) {
      TlsEndpoint source = TlsEndpoint.connecting(source(), "127.0.0.1");

      assertThatThrownBy(
              () ->
                  Transport.connect(
                      loops, old.address(), CONNECT_MILLIS, Optional.of(source), client::on))
          .isInstanceOf(TlsFailure.class)
          .hasMessageContaining("does not speak TLS 1.3");
    }
  }

  @Test
  void aSourceWithoutTlsIsToldSoInItsOwnWords() throws Exception {
    listen(destination());
    connect(Optional.empty()).send(new ControlFrame.Ready());

    assertThat(client.next()).contains("Refuse", "it speaks TLS only", "--tls-dir");
    assertThat(client.next()).startsWith("closed: ");
    assertThat(server.made).isEmpty();
  }

  @Test
  void aDestinationWithoutTlsIsNamedAsThat() throws Exception {
    listen(Optional.empty());

    requireFails(source(), "127.0.0.1", "closed the connection during the handshake", "--tls-dir");
    assertThat(server.next()).contains("the peer speaks TLS");
  }

  @Test
  void strangersWhoNeverShakeHandsDoNotKeepOthersOutForLong() throws Exception {
    listen(destination());
    Path source = source();
    for (int i = 0; i < 50; i++) {
      strangers.add(new Socket(InetAddress.getLoopbackAddress(), address().getPort()));
    }
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_SECONDS);
    Connection connection = null;
    while (connection == null && System.nanoTime() < deadline) {
      try {
        connection = connect(source, "127.0.0.1");
      } catch (IOException e) {
        Thread.sleep(100);
      }
    }
    assertThat(connection).isNotNull();
  }

  @Test
  void newFilesCountForTheNextConnection() throws Exception {
    Path destination = destination();
    Path source = source();
    listen(destination);
    assertThat(connect(source, "dest.example").peerNames()).contains("dest.example");

    authority.issue("destination", "DNS:renamed.example");

    requireFails(source, "dest.example", "is not for that name");
    assertThat(connect(source, "renamed.example").peerNames()).contains("renamed.example");
  }

  @Test
  void filesThatCannotBeUsedLeaveTheOldOnesInForce() throws Exception {
    Path destination = destination();
    Path source = source();
    listen(destination);
    byte[] certificate = Files.readAllBytes(destination.resolve("cert.pem"));

    Files.write(destination.resolve("cert.pem"), Arrays.copyOf(certificate, 200));
    assertThat(connect(source, "dest.example").peerNames()).contains("dest.example");

    Files.delete(destination.resolve("key.pem"));
    assertThat(connect(source, "dest.example").peerNames()).contains("dest.example");

    Path other = authority.issue("other", "DNS:other.example");
    Files.copy(other.resolve("key.pem"), destination.resolve("key.pem"));
    assertThat(connect(source, "dest.example").peerNames()).contains("dest.example");

    Files.copy(
        other.resolve("cert.pem"),
        destination.resolve("cert.pem"),
        StandardCopyOption.REPLACE_EXISTING);
    assertThat(connect(source, "other.example").peerNames()).contains("other.example");
  }

  @Test
  void aKeyOfAnotherCertificateIsRefused() throws Exception {
    Path folder = destination();
    Files.copy(
        source().resolve("key.pem"),
        folder.resolve("key.pem"),
        StandardCopyOption.REPLACE_EXISTING);

    assertThatThrownBy(() -> TlsEndpoint.listening(folder))
        .isInstanceOf(Refusal.class)
        .hasMessageContaining("is not the key of");
  }

  @Test
  void aKeyInAnotherFormIsRefusedWithTheCommandThatConvertsIt() throws Exception {
    Path folder = destination();
    Path key = folder.resolve("key.pem");
    TestAuthority.openssl(
        List.of("ec", "-in", key.toString(), "-out", folder.resolve("traditional").toString()));
    Files.move(folder.resolve("traditional"), key, StandardCopyOption.REPLACE_EXISTING);

    assertThatThrownBy(() -> TlsEndpoint.listening(folder))
        .isInstanceOf(Refusal.class)
        .hasMessageContainingAll("'EC PRIVATE KEY'", "openssl pkcs8 -topk8");
  }

  private HostAndPort byAddress() {
    return new HostAndPort("127.0.0.1", address().getPort());
  }

  @Test
  void aProbeAsksOnlyWhetherAGuestMayComeAndHearsTheTime() throws Exception {
    listen(destination());
    server.answer =
        new ControlFrame.Welcome(
            Wire.VERSION, Standing.NEW, System.currentTimeMillis() + 3_600_000);

    Probe.Answer answer =
        Probe.of(
            loops, byAddress(), Optional.of(TlsEndpoint.connecting(source(), "127.0.0.1")), "web");

    assertThat(answer.certificate()).isPresent();
    assertThat(answer.skew().isNotable()).isTrue();
    assertThat(answer.skew().ofTheDestination()).containsPattern("(3599|3600)\\.\\d s ahead of");
    assertThat(server.next()).contains("role=INQUIRY", "vm=web");
    assertThat(server.next()).startsWith("closed");
  }

  @Test
  void aProbeHearsWhyAGuestMayNotCome() {
    listen(Optional.empty());
    server.answer = new ControlFrame.Refuse("no VM 'web' here", "start it");

    assertThatThrownBy(() -> Probe.of(loops, byAddress(), Optional.empty(), "web"))
        .isInstanceOf(Refusal.class)
        .hasMessage("the destination refuses: no VM 'web' here; start it");
  }

  @Test
  void aProbeTellsAnotherVersion() {
    listen(Optional.empty());
    server.answer = new ControlFrame.Welcome(Wire.VERSION + 1, Standing.NEW, 0);

    assertThatThrownBy(() -> Probe.of(loops, byAddress(), Optional.empty(), ""))
        .isInstanceOf(Refusal.class)
        .hasMessageContaining("same version on both hosts");
  }

  @Test
  void aProbeHearsThatItsCertificateIsNotTaken() throws Exception {
    Path stranger = TestAuthority.create(temp.resolve("other")).issue("source", "DNS:source");
    Files.copy(
        temp.resolve("ca/ca.pem"), stranger.resolve("ca.pem"), StandardCopyOption.REPLACE_EXISTING);
    listen(destination());
    TlsEndpoint tls = TlsEndpoint.connecting(stranger, "127.0.0.1");

    assertThatThrownBy(() -> Probe.of(loops, byAddress(), Optional.of(tls), ""))
        .isInstanceOf(Refusal.class)
        .hasMessageContaining("does not take our certificate");
  }

  @Test
  void aProbeWithoutTlsComparesTheClocksToo() {
    listen(Optional.empty());
    server.answer = ControlFrame.Welcome.now(Standing.NEW);

    Probe.Answer answer = Probe.of(loops, byAddress(), Optional.empty(), "");

    assertThat(answer.certificate()).isEmpty();
    assertThat(answer.skew().isNotable()).as("%s", answer.skew()).isFalse();
  }
}
