package dev.postcopy.wire;

import dev.postcopy.memory.RamBlock;
import java.util.List;
import java.util.Optional;
import java.util.UUID;

/** A frame of the conversation between the two sessions; none of them is on the way of a fault. */
public sealed interface ControlFrame {

  /**
   * The first frame on every connection, source to destination.
   *
   * @param version {@link Wire#VERSION} of the sender
   * @param session which migration this connection is part of
   * @param role what the connection is for
   * @param attempt 0 for the first pair of connections, and higher for each that follows
   * @param vm by which name both hosts know the virtual machine, at most {@link
   *     Wire#MAX_VM_NAME_BYTES}; empty on a bulk connection, and where the operator gave none
   * @param blocks the guest's RAM at the source; empty on a bulk connection
   */
  record Hello(
      int version, UUID session, ConnectionRole role, int attempt, String vm, List<RamBlock> blocks)
      implements ControlFrame {}

  /**
   * The destination takes the connection.
   *
   * @param standing how far it has come
   * @param epochMillis its clock, since 1970
   */
  record Welcome(int version, Standing standing, long epochMillis) implements ControlFrame {

    /** Why its sender is not understood here; empty where it is of this version. */
    public Optional<String> otherVersion() {
      return version == Wire.VERSION
          ? Optional.empty()
          : Optional.of(
              "the destination speaks version %d, this is version %d"
                  .formatted(version, Wire.VERSION));
    }

    /** That of this version, now. */
    public static Welcome now(Standing standing) {
      return new Welcome(Wire.VERSION, standing, System.currentTimeMillis());
    }
  }

  /** The destination will not take part: nothing was touched there. */
  record Refuse(String reason, String remedy) implements ControlFrame {

    /** Where there is no journal of the migration either: nobody there is in doubt about it. */
    public static final Refuse OF_AN_UNKNOWN_MIGRATION =
        new Refuse("nothing is known of this migration here", "begin it with migrate");
  }

  /** The destination serves faults and its QEMU waits for the device state. */
  record Ready() implements ControlFrame {}

  /** The device state is whole; {@code byteLength} of it were sent. */
  record DeviceStateEnd(long byteLength) implements ControlFrame {}

  /** The destination's QEMU has loaded the device state and could run. */
  record Loaded() implements ControlFrame {}

  /**
   * From here on the guest belongs to the destination.
   *
   * @param run whether it shall run there; false where it was paused before
   */
  record Commit(boolean run) implements ControlFrame {}

  /** The destination holds the guest: it runs, or stays paused as it was. */
  record Running() implements ControlFrame {}

  /**
   * The source has nothing left to send.
   *
   * @param dataPages distinct pages that were sent with their content
   * @param zeroPages distinct pages that were announced as zero
   */
  record End(int dataPages, int zeroPages) implements ControlFrame {}

  /** The destination has every page and found the counts of {@link End} true. */
  record Complete(DestinationStats stats) implements ControlFrame {}

  /**
   * The source found the counts of {@link Complete} true; the userfaultfd may go.
   *
   * @param downtimeMicros from STOP at the source to {@link Running}
   * @param totalMicros from STOP until {@link Complete}
   * @param bytesSent by the source, on all connections
   */
  record Confirmed(long downtimeMicros, long totalMicros, long bytesSent) implements ControlFrame {}

  /**
   * What the destination has was told, with a bit for each page: the source goes on from there.
   *
   * @param dataPages of the pages that were told, those with content
   * @param zeroPages of the pages that were told, those announced as zero
   */
  record ReceivedEnd(int dataPages, int zeroPages) implements ControlFrame {}

  /** The sender gives the migration up. */
  record Abort(String reason) implements ControlFrame {}

  /** How far the destination has come with a migration. */
  enum Standing {
    /** It hears of it for the first time. */
    NEW,
    /** Its QEMU has loaded the device state, and waits for COMMIT or ABORT. */
    LOADED,
    /** It was told COMMIT: the guest is there. */
    COMMITTED,
    /** It has every page, and has found the counts true. */
    COMPLETE
  }

  /** What a connection is for. */
  enum ConnectionRole {
    /** Requests, their answers, and all control frames. Never behind bulk. */
    DEMAND,
    /** Device state, then the pages that nobody asked for. */
    BULK,
    /** None: somebody wants to know whether a guest may come. */
    INQUIRY
  }

  /**
   * What the destination counted.
   *
   * @param dataPages distinct pages placed with content
   * @param zeroPages distinct pages known to be zero
   * @param demandPages of both, those whose arrival answered a fault
   * @param duplicatePages pages that arrived although they were here
   * @param faults fault messages read
   * @param p50Micros fault latency, from reading the fault to waking its thread
   */
  record DestinationStats(
      int dataPages,
      int zeroPages,
      int demandPages,
      int duplicatePages,
      long faults,
      long p50Micros,
      long p90Micros,
      long p99Micros,
      long maxMicros) {}
}
