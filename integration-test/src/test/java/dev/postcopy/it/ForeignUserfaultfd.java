package dev.postcopy.it;

import dev.postcopy.linux.PidFd;
import dev.postcopy.linux.RamMapping;
import dev.postcopy.linux.SyscallInjector;
import dev.postcopy.linux.Userfaultfd;
import dev.postcopy.linux.abi.FileCalls;
import dev.postcopy.linux.abi.Syscalls;
import java.io.File;
import java.util.List;

/**
 * A program that gives a QEMU process a userfaultfd of its own and registers guest RAM with it, as
 * an agent that was left in the middle does. A program, because the tests' JVM is QEMU's parent and
 * must not trace it.
 */
final class ForeignUserfaultfd {

  private ForeignUserfaultfd() {}

  public static void main(String[] arguments) {
    int pid = Integer.parseInt(arguments[0]);
    RamMapping ram = RamMapping.locate(pid, "ram0", arguments[1], Long.parseLong(arguments[2]));
    long number =
        SyscallInjector.inject(
            pid, Syscalls.SYS_userfaultfd, FileCalls.O_CLOEXEC | FileCalls.O_NONBLOCK);
    try (PidFd process = PidFd.open(pid);
        Userfaultfd userfaultfd =
            Userfaultfd.attach(process.takeDescriptor(Math.toIntExact(number)))) {
      userfaultfd.registerMissing(ram.range());
    }
  }

  /** Runs the program; QEMU keeps the descriptor, and with it the registration. */
  static void on(QemuProcess qemu, int memoryMib) {
    // Surefire may hide the class path in a jar of its own.
    String classPath =
        System.getProperty("surefire.test.class.path", System.getProperty("java.class.path", ""));
    TestEnvironment.run(
        TestEnvironment.get().root(),
        30,
        System.getProperty("java.home") + File.separator + "bin" + File.separator + "java",
        "--enable-native-access=ALL-UNNAMED",
        "-cp",
        classPath,
        ForeignUserfaultfd.class.getName(),
        Long.toString(qemu.pid()),
        qemu.ramFiles().getFirst().toString(),
        Long.toString((long) memoryMib << 20));
    List<String> left = Migration.userfaultfds(qemu);
    if (left.size() != 1) {
      throw new AssertionError("no userfaultfd in " + qemu + ": " + left);
    }
  }
}
