package dev.postcopy.daemon;

import dev.postcopy.cli.Refusal;
import dev.postcopy.wire.Wire;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.regex.Pattern;

/**
 * The folder in which the QEMUs of a host have their QMP sockets; a socket's file name is the name
 * of its virtual machine.
 *
 * @param folder empty: machines are known by the paths of their sockets only
 */
public record VmFolder(Optional<Path> folder) {

  /** One file in one folder, and nothing that a shell or a log would read as something else. */
  private static final Pattern NAME = Pattern.compile("(?!\\.)[^/\\p{Cntrl}]+");

  /**
   * The socket of a machine of this host.
   *
   * @param vm a name, or the path of a socket
   * @throws Refusal where there is none
   */
  public Path socket(String vm) {
    return existing(vm, address(vm));
  }

  /**
   * Where the socket of a machine is, or was.
   *
   * @param vm as for {@link #socket}
   * @throws Refusal where no machine can be called so
   */
  public Path address(String vm) {
    Path socket = vm.indexOf('/') >= 0 ? Path.of(vm) : named(vm);
    return socket.toAbsolutePath().normalize();
  }

  /**
   * The socket of a machine, by its name only: what a peer says is never a path.
   *
   * @throws Refusal where there is none
   */
  public Path socketOfName(String name) {
    return existing(name, named(name)).toAbsolutePath().normalize();
  }

  private Path named(String name) {
    requireName(name);
    Path in =
        folder.orElseThrow(
            () ->
                new Refusal(
                    "no folder of QMP sockets is known, in which " + name + " could be",
                    "start the agent with --vm-dir, or name the socket by its path"));
    return in.resolve(name);
  }

  private static Path existing(String vm, Path socket) {
    if (!Files.exists(socket)) {
      throw new Refusal(
          "no VM '%s' here: %s is not there".formatted(vm, socket),
          "start its QEMU with -qmp unix:" + socket + ",server=on,wait=off");
    }
    return socket;
  }

  /**
   * The name of the machine behind a socket.
   *
   * @throws Refusal where the file's name is none
   */
  public static String nameOf(Path socket) {
    return requireName(String.valueOf(socket.getFileName()));
  }

  /**
   * @return {@code name}
   * @throws Refusal where no machine can have that name
   */
  public static String requireName(String name) {
    if (!NAME.matcher(name).matches()
        || name.getBytes(StandardCharsets.UTF_8).length > Wire.MAX_VM_NAME_BYTES) {
      throw new Refusal(
          "'%s' is no name of a VM".formatted(name.replaceAll("\\p{Cntrl}", " ")),
          "a name is that of a file: no slash, no dot at its beginning, at most %d bytes"
              .formatted(Wire.MAX_VM_NAME_BYTES));
    }
    return name;
  }
}
