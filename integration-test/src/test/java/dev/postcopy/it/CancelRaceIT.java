package dev.postcopy.it;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * An operator's cancel against the commit: whatever comes first, the answer says where the guest
 * is, and it is there and nowhere else.
 */
final class CancelRaceIT {

  private static final Logger log = LoggerFactory.getLogger(CancelRaceIT.class);

  private static final Duration TIMEOUT = Duration.ofSeconds(60);
  private static final int MEMORY_MIB = 64;
  private static final int WORK_END_MIB = 32;

  private static final long SEED = Long.getLong("cancel.seed", 20261125);
  private static final int TRIES = Integer.getInteger("cancel.tries", 10);

  /** Around the arrival of LOADED, which the commit follows within a few milliseconds. */
  private static final int EARLIEST_MICROS = -1000;

  private static final int LATEST_MICROS = 4000;

  /** From the first byte of device state the whole switch-over takes no longer. */
  private static final int SWITCH_OVER_MICROS = 25_000;

  /** Where all processors are busy, QEMU 7.2 falls into its gap one time of seven. */
  private static final int GAP_TRIES = 200;

  private static final Duration GAP_PATIENCE = Duration.ofMillis(500);

  @BeforeAll
  static void requireRoot() {
    TestEnvironment.get().requireRoot();
  }

  private static QemuProcess boot() {
    return QemuProcess.builder("source").memoryMib(MEMORY_MIB).bootSector(WORK_END_MIB).start();
  }

  @Test
  void cancelAnswersWhereTheGuestIsAtWhateverMomentItComes() {
    SplittableRandom random = new SplittableRandom(SEED);
    QemuProcess guest = boot();
    int refused = 0;
    try {
      BootSectorGuest.on(guest, WORK_END_MIB).awaitRounds(2, TIMEOUT);
      for (int i = 0; i < TRIES; i++) {
        QemuProcess destination = guest.incomingTwin("destination" + i).start();
        boolean moved = false;
        try {
          moved = moves(guest, destination, random);
        } finally {
          (moved ? guest : destination).close();
        }
        if (moved) {
          guest = destination;
          refused++;
        }
      }
      guest.qmp().execute("stop");
      BootSectorGuest.on(guest, WORK_END_MIB).requireOneStep();
    } finally {
      guest.close();
    }
    log.info("seed {}: cancelled {} times, refused {} times", SEED, TRIES - refused, refused);
  }

  /**
   * QEMU 7.2 waits for ever where it is cancelled a moment before it begins to wait for its
   * switch-over, and lets nobody continue the guest.
   */
  @Test
  void guestRunsOnWhoseQemuWouldNotEndItsCancelledMigration() {
    try (QemuProcess from = boot();
        QemuProcess to = from.incomingTwin("destination").start();
        AgentProcess agent = AgentProcess.receive(to, AgentProcess.PATIENT);
        FrameProxy proxy = FrameProxy.to(agent.awaitListening()).holdAt(FrameProxy.Type.LOADED);
        Migration migration = Migration.start(from, proxy, agent, AgentProcess.PATIENT)) {
      proxy.awaitHeld(migration);
      migration.source().kill();
      proxy.cut();
      proxy.release();
      from.qmp().execute("cont");
      bringToItsGap(from.qmp());
      try (AgentProcess resumed = AgentProcess.resumeMigrating(from, proxy.port())) {
        resumed.requireExit(1, "the guest is at the source");
      }
      assertThat(from.qmp().migrationStatus()).as("QEMU's own migration").isEqualTo("cancelled");
      assertThat(agent.awaitExit(TIMEOUT)).as(agent.toString()).isEqualTo(1);
      Migration.requireUsualSettings(from);
      BootSectorGuest.requireWorks(from);
    }
  }

  /** Returns with QEMU in a migration that does not end though it was cancelled. */
  private static void bringToItsGap(QmpProbe qemu) {
    qemu.setCapabilities("pause-before-switchover");
    AtomicBoolean busy = new AtomicBoolean(true);
    for (int i = 0; i < Runtime.getRuntime().availableProcessors(); i++) {
      Thread.ofPlatform().daemon().start(() -> spinWhile(busy));
    }
    try {
      for (int i = 0; i < GAP_TRIES; i++) {
        int stops = qemu.count("STOP");
        qemu.execute("migrate", "uri", "exec:cat >/dev/null");
        qemu.awaitEvent("STOP", stops, TIMEOUT);
        qemu.execute("migrate_cancel");
        if (!ends(qemu)) {
          assertThat(qemu.status())
              .as("a guest that nobody can continue")
              .isEqualTo("finish-migrate");
          return;
        }
        qemu.awaitStatus("running", TIMEOUT);
      }
    } finally {
      busy.set(false);
    }
    Assumptions.abort("this QEMU ended each of %d cancelled migrations".formatted(GAP_TRIES));
  }

  private static boolean ends(QmpProbe qemu) {
    long end = System.nanoTime() + GAP_PATIENCE.toNanos();
    while (System.nanoTime() < end) {
      if (!qemu.migrationStatus().equals("cancelling")) {
        return true;
      }
      QmpProbe.sleep(Duration.ofMillis(1));
    }
    return false;
  }

  private static void spinWhile(AtomicBoolean busy) {
    while (busy.get()) {
      Thread.onSpinWait();
    }
  }

  /** Returns whether the cancel was refused and the guest went over. */
  private static boolean moves(QemuProcess from, QemuProcess to, SplittableRandom random) {
    boolean fromLoaded = random.nextBoolean();
    int micros =
        fromLoaded
            ? random.nextInt(EARLIEST_MICROS, LATEST_MICROS)
            : random.nextInt(SWITCH_OVER_MICROS);
    String moment =
        "cancel %d µs behind %s".formatted(micros, fromLoaded ? "LOADED" : "DEVICE_STATE");
    int resumes = resumes(from);
    AgentProcess agent = AgentProcess.receive(to);
    try (FrameProxy proxy =
            FrameProxy.to(agent.awaitListening())
                .holdAt(fromLoaded ? FrameProxy.Type.LOADED : FrameProxy.Type.DEVICE_STATE);
        Migration migration = Migration.start(from, proxy, agent)) {
      proxy.awaitHeld(migration);
      String answer;
      try (ControlCall call = ControlCall.to(from)) {
        answer = cancelAt(micros, call, proxy);
      }
      String what = moment + ": " + answer + " " + migration;
      if (answer.contains("done")) {
        assertThat(from.qmp().status()).as(what).isEqualTo("running");
        assertThat(migration.source().awaitExit(TIMEOUT)).as(what).isEqualTo(1);
        assertThat(agent.awaitExit(TIMEOUT)).as(what).isEqualTo(1);
        to.awaitExit(TIMEOUT);
        assertThat(resumes(to)).as(what).isZero();
        BootSectorGuest.on(from, WORK_END_MIB).awaitRounds(1, TIMEOUT);
        assertThat(AgentProcess.journals(from)).as(what).isEmpty();
        return false;
      }
      assertThat(answer).as(what).contains("the guest belongs to the destination already");
      assertThat(migration.source().awaitExit(TIMEOUT)).as(what).isZero();
      assertThat(agent.awaitExit(TIMEOUT)).as(what).isZero();
      assertThat(resumes(from)).as(what).isEqualTo(resumes);
      Migration.requireLetGo(from, to);
      BootSectorGuest.on(to, WORK_END_MIB).awaitRounds(1, TIMEOUT);
      return true;
    }
  }

  /** Returns what the agent answers. */
  private static String cancelAt(int micros, ControlCall call, FrameProxy proxy) {
    if (micros < 0) {
      call.say("cancel");
      spin(-micros);
      proxy.release();
    } else {
      proxy.release();
      spin(micros);
      call.say("cancel");
    }
    return call.answer();
  }

  /** A sleep would be longer than what this is about. */
  private static void spin(int micros) {
    long end = System.nanoTime() + 1000L * micros;
    while (System.nanoTime() < end) {
      Thread.onSpinWait();
    }
  }

  private static int resumes(QemuProcess qemu) {
    return qemu.qmp().count("RESUME");
  }
}
