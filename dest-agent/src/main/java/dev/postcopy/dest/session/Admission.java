package dev.postcopy.dest.session;

import dev.postcopy.cli.Refusal;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.tls.AllowList;
import dev.postcopy.transport.tls.TlsEndpoint;
import dev.postcopy.wire.ControlFrame;
import java.nio.file.Path;
import java.util.Optional;

/**
 * Who may connect to this host, and send which VM to it.
 *
 * @param tls empty: whoever connects is believed
 * @param allowed empty: any VM may come
 */
record Admission(Optional<TlsEndpoint> tls, Optional<AllowList> allowed) {

  /**
   * Reads the list.
   *
   * @throws Refusal where it cannot be used
   */
  static Admission of(Optional<TlsEndpoint> tls, Optional<Path> allowFile) {
    if (allowFile.isPresent() && tls.isEmpty()) {
      throw new Refusal(
          "--allow needs TLS, which tells who connects", "give certificates with --tls-dir");
    }
    return new Admission(tls, allowFile.map(AllowList::new));
  }

  /**
   * @throws Refusal where this source may not send this VM
   */
  void require(Connection connection, ControlFrame.Hello hello) {
    allowed.ifPresent(list -> list.require(connection.peerNames(), hello.vm()));
  }
}
