package dev.postcopy.linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowable;

import dev.postcopy.linux.abi.Errno;
import dev.postcopy.linux.abi.Ptrace;
import dev.postcopy.linux.abi.Syscalls;
import java.io.IOException;
import java.time.Duration;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(120)
class SyscallInjectorTest {
  private static final int REPEATS = 200;
  private static final int SIGCONT = 18;
  private static final int SIGSTOP = 19;
  private static final long LENGTH = ScratchProcess.PAGE_BYTES;
  private ScratchProcess process;

  @BeforeAll
  static void requireRoot() {
    TestHost.requireRoot();
  }

  @BeforeEach
  void start() {
    process = ScratchProcess.withMemfd(LENGTH);
  }

  @AfterEach
  void stop() {
    process.close();
  }

  @Test
  void aProcessWaitingInPpollDoesNotNotice() {
    injectRepeatedly();

    assertThat(process.request("counters"))
        .as("ppoll interrupted, signal mask, SIGTRAP handler")
        .isEqualTo("counters interruptions=0 usr1=0 queued=0 mask=ok trap=ok");
  }

  @Test
  void aSleepingProcessSleepsItsFullTime() {
    process.send("sleep 2000");
    injectRepeatedly();

    String reply = process.reply();

    assertThat(reply).endsWith("interruptions=0");
    assertThat(sleptMs(reply)).as("milliseconds slept of 2000").isBetween(2000L, 2500L);
  }

  @Test
  void aComputingProcessKeepsItsRegisters() {
    process.send("spin 2000");
    injectRepeatedly();

    assertThat(process.replyWithin(0)).as("the loop must outlast the injections").isEmpty();
    assertThat(process.reply()).startsWith("spun").endsWith("errors=0");
  }

  @Test
  void noSignalIsLostOrRepeatedWhileComputing() {
    assertThat(process.request("storm on")).isEqualTo("storm on");
    process.send("spin 2000");
    injectRepeatedly();

    assertThat(process.reply()).startsWith("spun").endsWith("errors=0");
    assertEverySignalWasHandledOnce();
  }

  @Test
  void noSignalIsLostOrRepeatedWhileWaitingInPpoll() {
    assertThat(process.request("storm on")).isEqualTo("storm on");
    injectRepeatedly();

    assertEverySignalWasHandledOnce();
  }

  @Test
  void noSignalIsLostOrRepeatedWhileSleeping() {
    assertThat(process.request("storm on")).isEqualTo("storm on");
    process.send("sleep 2000");
    injectRepeatedly();

    // No upper bound: each signal's handler makes nanosleep(2) round the rest up.
    assertThat(sleptMs(process.reply()))
        .as("milliseconds slept of 2000")
        .isGreaterThanOrEqualTo(2000);
    assertEverySignalWasHandledOnce();
  }

  @Test
  void aFailingCallReturnsItsError() {
    assertThat(SyscallInjector.inject(process.pid(), Syscalls.SYS_close, 9999))
        .isEqualTo(-Errno.EBADF);
    assertThat(SyscallInjector.inject(process.pid(), 100_000)).isEqualTo(-Errno.ENOSYS);
  }

  @Test
  void aCallThatWaitsIsInterrupted() {
    long pause = 34;
    long erestartnohand = 514;

    assertThat(SyscallInjector.inject(process.pid(), pause)).isEqualTo(-erestartnohand);

    assertThat(process.request("counters"))
        .isEqualTo("counters interruptions=0 usr1=0 queued=0 mask=ok trap=ok");
  }

  @Test
  void passesSixArguments() {
    long mmap = 9;
    long anonymousPrivate = 0x22;
    long address = SyscallInjector.inject(process.pid(), mmap, 0, 8192, 1, anonymousPrivate, -1, 0);

    assertThat(ProcMaps.read(process.pid()))
        .as("a mapping at the address that mmap returned")
        .anyMatch(m -> m.range().contains(new RemoteAddress(address)));
    assertThatThrownBy(() -> SyscallInjector.inject(process.pid(), mmap, 1, 2, 3, 4, 5, 6, 7))
        .isInstanceOf(IllegalArgumentException.class);
  }

  @Test
  void namesTheOtherTracer() {
    try (ScratchProcess tracer = ScratchProcess.withMemfd(LENGTH)) {
      assertThat(tracer.request("seize " + process.pid())).isEqualTo("seized " + process.pid());

      assertThatThrownBy(() -> SyscallInjector.inject(process.pid(), Syscalls.SYS_getpid))
          .isInstanceOf(HostRefusal.class)
          .hasMessageContaining("is traced by process " + tracer.pid());
    }
  }

  @Test
  void refusesAChildOfThisJvm() throws IOException {
    Process child = new ProcessBuilder("sleep", "100").start();
    try {
      assertThatThrownBy(() -> SyscallInjector.inject((int) child.pid(), Syscalls.SYS_getpid))
          .isInstanceOf(HostRefusal.class)
          .hasMessageContaining("is a child of this JVM");
    } finally {
      child.destroyForcibly();
    }
  }

  @Test
  void saysEsrchWhenTheProcessIsGone() {
    process.kill();

    assertGone(catchThrowable(() -> SyscallInjector.inject(process.pid(), Syscalls.SYS_getpid)));
  }

  @Test
  void endsWhenTheProcessDiesMeanwhile() throws Exception {
    Random random = new Random(1);
    for (int i = 0; i < 40; i++) {
      try (ScratchProcess victim = ScratchProcess.withMemfd(LENGTH)) {
        CompletableFuture<Throwable> injector =
            CompletableFuture.supplyAsync(() -> catchThrowable(() -> injectForEver(victim.pid())));
        Thread.sleep(Duration.ofNanos(random.nextInt(3_000_000)));
        victim.kill();

        assertGone(injector.get(10, TimeUnit.SECONDS));
      }
    }
  }

  @Test
  void aStoppedProcessStaysStopped() {
    assertThat(Ptrace.kill(process.pid(), SIGSTOP)).isZero();

    injectRepeatedly();

    process.send("counters");
    assertThat(process.replyWithin(200)).as("reply of a stopped process").isEmpty();
    assertThat(Ptrace.kill(process.pid(), SIGCONT)).isZero();
    assertThat(process.reply()).contains("mask=ok trap=ok");
  }

  @Test
  void anInterruptedCallerGetsTheResultAndStaysInterrupted() {
    Thread.currentThread().interrupt();

    long result = SyscallInjector.inject(process.pid(), Syscalls.SYS_getpid);

    assertThat(Thread.interrupted()).as("interrupt flag").isTrue();
    assertThat(result).isEqualTo(process.pid());
  }

  private void injectRepeatedly() {
    for (int i = 0; i < REPEATS; i++) {
      assertThat(SyscallInjector.inject(process.pid(), Syscalls.SYS_getpid))
          .as("getpid() in the other process, injection %d", i)
          .isEqualTo(process.pid());
    }
  }

  private static long sleptMs(String reply) {
    return TimeUnit.NANOSECONDS.toMillis(Long.parseLong(reply.split(" ", -1)[1]));
  }

  private static void injectForEver(int pid) {
    while (true) {
      long _ = SyscallInjector.inject(pid, Syscalls.SYS_getpid);
    }
  }

  private void assertEverySignalWasHandledOnce() {
    String sent = process.request("storm off").substring("storm off sent=".length());
    assertThat(Long.parseLong(sent)).as("signals sent").isGreaterThan(100);
    assertThat(process.request("counters"))
        .as("of %s signals sent", sent)
        .contains(" queued=" + sent + " ")
        .endsWith("mask=ok trap=ok");
  }

  private static void assertGone(Throwable thrown) {
    assertThat(thrown)
        .isInstanceOfSatisfying(
            LinuxException.class, e -> assertThat(e.errno()).isEqualTo(Errno.ESRCH));
  }
}
