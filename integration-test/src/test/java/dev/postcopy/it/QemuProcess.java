package dev.postcopy.it;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/**
 * A QEMU process that a test started, with its RAM files, sockets and log; all of it goes when this
 * is closed.
 */
final class QemuProcess implements AutoCloseable {

  /**
   * What executes the guest. The two take their page faults differently: TCG in user mode, KVM in
   * kernel mode.
   */
  enum Accelerator {
    TCG("tcg,thread=multi"),
    KVM("kvm");

    final String argument;

    Accelerator(String argument) {
      this.argument = argument;
    }
  }

  /** What guest RAM is. */
  enum Ram {
    /** A named file on tmpfs, shared: the one that can be migrated from outside. */
    FILE,
    /** An anonymous shared file. */
    MEMFD,
    /** A named file mapped privately. */
    PRIVATE_FILE,
    /** A backend of anonymous memory. */
    ANONYMOUS,
    /** No backend: what {@code -m} alone gives. */
    DEFAULT
  }

  static final String STRICT_SANDBOX =
      "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

  /**
   * A quiet and somewhat quicker boot under emulation. With {@code tsc=reliable} the guest keeps
   * its clock source when its timers come late because it waited for a page.
   */
  private static final String QUICK_BOOT =
      "console=ttyS0 quiet loglevel=0 mitigations=off nokaslr tsc=reliable lpj=4000000 cryptomgr.notests=1 apparmor=0"
          + " audit=0 8250.nr_uarts=1 i8042.noaux i8042.nokbd";

  private static final Path SHARED_MEMORY = Path.of("/dev/shm");

  private final Builder builder;
  private final Path folder;
  private final List<Path> ramFiles;
  private final Process process;
  private final QmpProbe qmp;
  private final SerialPort serial;

  private QemuProcess(
      Builder builder,
      Path folder,
      List<Path> ramFiles,
      Process process,
      QmpProbe qmp,
      SerialPort serial) {
    this.builder = builder;
    this.folder = folder;
    this.ramFiles = ramFiles;
    this.process = process;
    this.qmp = qmp;
    this.serial = serial;
  }

  static Builder builder(String name) {
    return new Builder(name);
  }

  /** How a QEMU process is to be started. */
  static final class Builder {
    private final String name;
    private String version = "installed";
    private String machine = "pc";
    private Accelerator accelerator = Accelerator.TCG;
    private int memoryMib = 256;
    private int cpus = 1;
    private int numaNodes = 1;
    private Ram ram = Ram.FILE;
    private String ramOptions = "";
    private Path ramFolder = SHARED_MEMORY;
    private boolean incoming;
    private boolean startPaused;
    private boolean unprivileged;
    private @Nullable String sandbox;
    private @Nullable Integer bootSectorEndMib;
    private boolean resting;
    private String kernelParameters = "";
    private @Nullable Path disk;
    private boolean ownsDisk;
    private List<String> extraArguments = new ArrayList<>();

    private Builder(String name) {
      this.name = name;
    }

    /** A build's name, from {@link TestEnvironment#qemuVersions}. */
    Builder version(String version) {
      this.version = version;
      return this;
    }

    /**
     * {@code pc}, {@code q35}, or one pinned to a version, as a migration to another version of
     * QEMU needs.
     */
    Builder machine(String machine) {
      this.machine = machine;
      return this;
    }

    Builder accelerator(Accelerator accelerator) {
      this.accelerator = accelerator;
      return this;
    }

    Builder memoryMib(int memoryMib) {
      this.memoryMib = memoryMib;
      return this;
    }

    Builder cpus(int cpus) {
      this.cpus = cpus;
      return this;
    }

    /** With 2, guest RAM is two blocks of half the size: {@code ram0} and {@code ram1}. */
    Builder numaNodes(int numaNodes) {
      this.numaNodes = numaNodes;
      return this;
    }

    Builder ram(Ram ram) {
      this.ram = ram;
      return this;
    }

    /** More options of the memory backend: {@code prealloc=on}. */
    Builder ramOptions(String ramOptions) {
      this.ramOptions = ramOptions;
      return this;
    }

    /** Where RAM files are, if not on the tmpfs that every Linux has. */
    Builder ramFolder(Path ramFolder) {
      this.ramFolder = ramFolder;
      return this;
    }

    /** Starts with {@code -incoming defer}. */
    Builder incoming() {
      this.incoming = true;
      return this;
    }

    /** Starts with {@code -S}. */
    Builder startPaused() {
      this.startPaused = true;
      return this;
    }

    /** Runs QEMU, and lets it own its RAM files, as a user without privileges. */
    Builder unprivileged() {
      this.unprivileged = true;
      return this;
    }

    /** The argument of {@code -sandbox}: {@link #STRICT_SANDBOX} is what libvirt gives. */
    Builder sandbox(String sandbox) {
      this.sandbox = sandbox;
      return this;
    }

    /** Parameters of the Linux guest's program, as scripts/guest/init.c lists them. */
    Builder kernelParameters(String kernelParameters) {
      this.kernelParameters = kernelParameters;
      return this;
    }

    /** Runs the boot sector in place of Linux, incrementing pages from 1 MiB to here. */
    Builder bootSector(int endMib) {
      this.bootSectorEndMib = endMib;
      return this;
    }

    /**
     * Lets the boot sector rest between its rounds, a hundred a second at most: for tests that are
     * not about a guest that writes at the very moment of its stop, because one that never rests
     * takes a processor from the agents for nothing.
     */
    Builder resting() {
      this.resting = true;
      return this;
    }

    /** A virtio disk that the Linux guest works on too; its twin uses the same. */
    Builder disk() {
      try {
        Path file = Files.createTempFile(TestEnvironment.FILE_PREFIX + "disk-", ".raw");
        try (RandomAccessFile raw = new RandomAccessFile(file.toFile(), "rw")) {
          raw.setLength(4L << 20);
        }
        this.disk = file;
        this.ownsDisk = true;
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
      return this;
    }

    Builder device(String device) {
      return arguments("-device", device);
    }

    /** Takes back what {@link #device} and {@link #arguments} gave. */
    Builder withoutDevices() {
      extraArguments.clear();
      return this;
    }

    Builder arguments(String... arguments) {
      extraArguments.addAll(List.of(arguments));
      return this;
    }

    /** The same machine, waiting for a migration: what a destination has to look like. */
    Builder incomingTwin(String twinName) {
      Builder twin = new Builder(twinName);
      twin.version = version;
      twin.machine = machine;
      twin.accelerator = accelerator;
      twin.memoryMib = memoryMib;
      twin.cpus = cpus;
      twin.numaNodes = numaNodes;
      twin.ram = ram;
      twin.ramOptions = ramOptions;
      twin.ramFolder = ramFolder;
      twin.incoming = true;
      twin.unprivileged = unprivileged;
      twin.sandbox = sandbox;
      twin.bootSectorEndMib = bootSectorEndMib;
      twin.resting = resting;
      twin.kernelParameters = kernelParameters;
      twin.disk = disk;
      twin.extraArguments = new ArrayList<>(extraArguments);
      return twin;
    }

    /** Starts QEMU and waits until it answers on its QMP socket. */
    QemuProcess start() {
      TestEnvironment environment = TestEnvironment.get();
      Path executable = environment.requireQemu(version);
      if (accelerator == Accelerator.KVM) {
        environment.requireKvm();
      }
      if (unprivileged) {
        environment.requireUnprivilegedUser();
        if (accelerator == Accelerator.KVM) {
          environment.requireUnprivilegedKvm();
        }
      }
      Path folder = TestEnvironment.newFolder(name);
      List<Path> ramFiles = new ArrayList<>();
      List<String> command = new ArrayList<>();
      if (unprivileged) {
        command.addAll(
            List.of(
                "setpriv",
                "--reuid=" + TestEnvironment.UNPRIVILEGED_UID,
                "--regid=" + TestEnvironment.UNPRIVILEGED_UID,
                "--clear-groups",
                "--"));
      }
      command.addAll(
          List.of(
              executable.toString(),
              "-name",
              name,
              "-nodefaults",
              "-no-user-config",
              "-display",
              "none"));
      command.addAll(List.of("-no-reboot", "-m", memoryMib + "M", "-smp", Integer.toString(cpus)));
      command.addAll(List.of("-accel", accelerator.argument));
      if (accelerator == Accelerator.KVM) {
        // Some hosts' KVM offers no more than this.
        command.addAll(List.of("-cpu", "host,-arch-capabilities"));
      }
      addRam(command, folder, ramFiles);
      addGuest(command, environment, folder);
      if (disk != null) {
        command.addAll(
            List.of(
                "-drive",
                "if=none,id=disk0,format=raw,file.locking=off,file=" + disk,
                "-device",
                "virtio-blk-pci,drive=disk0"));
      }
      addSocket(command, "serial", folder, ",logfile=" + folder.resolve("serial.log"));
      command.addAll(List.of("-serial", "chardev:serial"));
      for (String monitor : List.of("qmp", "agent")) {
        addSocket(command, monitor, folder, "");
        command.addAll(List.of("-mon", "mode=control,chardev=" + monitor));
      }
      if (incoming) {
        command.addAll(List.of("-incoming", "defer"));
      }
      if (startPaused) {
        command.add("-S");
      }
      String sandboxArgument = sandbox;
      if (sandboxArgument != null) {
        command.addAll(List.of("-sandbox", sandboxArgument));
      }
      command.addAll(extraArguments);
      return launch(command, folder, ramFiles);
    }

    private void addSocket(List<String> command, String id, Path folder, String more) {
      command.addAll(
          List.of(
              "-chardev",
              "socket,server=on,wait=off,id="
                  + id
                  + ",path="
                  + folder.resolve(id + ".sock")
                  + more));
    }

    private void addRam(List<String> command, Path folder, List<Path> ramFiles) {
      if (ram == Ram.DEFAULT) {
        command.addAll(List.of("-machine", machine));
        return;
      }
      for (int node = 0; node < numaNodes; node++) {
        String id = "ram" + node;
        String size = ",size=" + memoryMib / numaNodes + "M";
        String options = ramOptions.isEmpty() ? "" : "," + ramOptions;
        Path file = ramFolder.resolve(folder.getFileName() + "." + id);
        String backend =
            switch (ram) {
              case FILE -> "memory-backend-file,share=on,mem-path=" + file;
              case PRIVATE_FILE -> "memory-backend-file,share=off,mem-path=" + file;
              case MEMFD -> "memory-backend-memfd,share=on";
              case ANONYMOUS -> "memory-backend-ram";
              case DEFAULT -> throw new IllegalStateException();
            };
        if (ram == Ram.FILE || ram == Ram.PRIVATE_FILE) {
          createRamFile(file);
          ramFiles.add(file);
        }
        command.addAll(List.of("-object", backend + ",id=" + id + size + options));
        if (numaNodes > 1) {
          command.addAll(List.of("-numa", "node,memdev=" + id));
        }
      }
      command.addAll(
          List.of("-machine", numaNodes == 1 ? machine + ",memory-backend=ram0" : machine));
    }

    private void createRamFile(Path file) {
      try {
        Files.createFile(file);
        if (unprivileged) {
          Files.setAttribute(file, "unix:uid", TestEnvironment.UNPRIVILEGED_UID);
        }
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }

    private void addGuest(List<String> command, TestEnvironment environment, Path folder) {
      Integer endMib = bootSectorEndMib;
      if (endMib == null) {
        String parameters =
            QUICK_BOOT + " " + kernelParameters + (disk == null ? "" : " pc.disk=1");
        command.addAll(List.of("-kernel", environment.kernel().toString()));
        command.addAll(
            List.of("-initrd", environment.initramfs().toString(), "-append", parameters));
        return;
      }
      Path image = folder.resolve("boot-sector.bin");
      try {
        Files.copy(environment.bootSector(), image, StandardCopyOption.REPLACE_EXISTING);
        try (FileChannel channel = FileChannel.open(image, StandardOpenOption.WRITE)) {
          channel.write(word(endMib << 20), BootSectorGuest.RANGE_END_OFFSET);
          channel.write(word(resting ? 1 : 0), BootSectorGuest.RESTS_OFFSET);
        }
        if (unprivileged) {
          Files.setAttribute(image, "unix:uid", TestEnvironment.UNPRIVILEGED_UID);
        }
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
      command.addAll(
          List.of(
              "-drive",
              "if=none,id=boot,format=raw,file.locking=off,file=" + image,
              "-device",
              "ide-hd,drive=boot"));
    }

    private static ByteBuffer word(int value) {
      return ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putInt(0, value);
    }

    private QemuProcess launch(List<String> command, Path folder, List<Path> ramFiles) {
      Process process = null;
      try {
        Path disk = this.disk;
        if (unprivileged && disk != null) {
          Files.setAttribute(disk, "unix:uid", TestEnvironment.UNPRIVILEGED_UID);
        }
        process =
            new ProcessBuilder(command)
                .redirectErrorStream(true)
                .redirectOutput(folder.resolve("qemu.log").toFile())
                .start();
        QmpProbe qmp = connect(process, folder.resolve("qmp.sock"));
        SerialPort serial = SerialPort.connect(folder.resolve("serial.sock"));
        QemuProcess started =
            new QemuProcess(this, folder, List.copyOf(ramFiles), process, qmp, serial);
        Cleanup.register(started);
        return started;
      } catch (IOException | RuntimeException | AssertionError e) {
        String log = readLog(folder);
        if (process != null) {
          process.destroyForcibly();
        }
        ramFiles.forEach(QemuProcess::delete);
        TestEnvironment.deleteFolder(folder);
        throw new AssertionError(
            "QEMU does not start: " + String.join(" ", command) + "\n" + log, e);
      }
    }

    private static QmpProbe connect(Process process, Path socket) throws IOException {
      long deadline = System.nanoTime() + Duration.ofSeconds(30).toNanos();
      for (; ; ) {
        try {
          return QmpProbe.connect(socket);
        } catch (IOException e) {
          if (!process.isAlive() || System.nanoTime() > deadline) {
            throw e;
          }
          QmpProbe.sleep(Duration.ofMillis(10));
        }
      }
    }
  }

  private static String readLog(Path folder) {
    try {
      return Files.readString(folder.resolve("qemu.log"), UTF_8);
    } catch (IOException e) {
      return "(no log: " + e + ")";
    }
  }

  private static void delete(Path file) {
    try {
      Files.deleteIfExists(file);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** A builder of a process like this one that waits for a migration. */
  Builder incomingTwin(String name) {
    return builder.incomingTwin(name);
  }

  /** The tests' own QMP connection. */
  QmpProbe qmp() {
    return qmp;
  }

  /** A QMP socket that no one uses yet: the agent's. */
  Path agentQmp() {
    return folder.resolve("agent.sock");
  }

  SerialPort serial() {
    return serial;
  }

  /** The files of guest RAM in the order of the blocks, or none where it is not in files. */
  List<Path> ramFiles() {
    return ramFiles;
  }

  /** A folder of this process's own, which QEMU may write to whatever its user. */
  Path folder() {
    return folder;
  }

  long pid() {
    return process.pid();
  }

  boolean isAlive() {
    return process.isAlive();
  }

  /** Whether this is QEMU {@code major.minor} or later. */
  boolean isAtLeast(int major, int minor) {
    JsonNode version = qmp.execute("query-version").path("qemu");
    int itsMajor = version.path("major").asInt();
    return itsMajor > major || (itsMajor == major && version.path("minor").asInt() >= minor);
  }

  /** What QEMU wrote to its standard error so far. */
  String log() {
    return readLog(folder);
  }

  void freeze() {
    Freeze.freeze(process);
  }

  void thaw() {
    Freeze.thaw(process);
  }

  /** Ends QEMU as a crash would: no time to clean up. */
  void kill() {
    process.destroyForcibly();
    awaitExit(Duration.ofSeconds(10));
  }

  void awaitExit(Duration timeout) {
    try {
      if (!process.waitFor(timeout.toMillis(), TimeUnit.MILLISECONDS)) {
        throw new AssertionError(this + " does not exit");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException(e);
    }
  }

  @Override
  public void close() {
    Cleanup.unregister(this);
    try {
      // Nothing that a QEMU does on a polite end is of interest here, and one with blocked threads
      // would not end.
      kill();
    } finally {
      qmp.close();
      serial.close();
      ramFiles.forEach(QemuProcess::delete);
      TestEnvironment.deleteFolder(folder);
      if (builder.ownsDisk && builder.disk != null) {
        delete(builder.disk);
      }
    }
  }

  @Override
  public String toString() {
    return "QEMU '" + builder.name + "' (" + builder.version + ", pid " + process.pid() + ")";
  }
}
