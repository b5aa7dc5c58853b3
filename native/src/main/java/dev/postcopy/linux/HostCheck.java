package dev.postcopy.linux;

/** What a host must have, checked before anything is touched. */
public final class HostCheck {
  private static final KernelVersion OLDEST = new KernelVersion(5, 11);

  private HostCheck() {}

  /**
   * Checks kernel and architecture: pidfd_getfd came with Linux 5.6, the rules of who may use
   * userfaultfd with 5.11.
   *
   * @throws HostRefusal when one of them will not do
   */
  public static void requireKernel() {
    requireKernel(KernelVersion.current(), System.getProperty("os.arch", ""));
  }

  static void requireKernel(KernelVersion version, String architecture) {
    if (!architecture.equals("amd64")) {
      throw new HostRefusal("this is a host of type " + architecture, "use an x86-64 host");
    }
    if (version.compareTo(OLDEST) < 0) {
      throw new HostRefusal("this kernel is Linux " + version, "use Linux " + OLDEST + " or later");
    }
  }

  /**
   * Checks that this process can have a userfaultfd that serves tmpfs, by making one.
   *
   * @throws HostRefusal when it cannot
   */
  public static void requireUserfaultfd() {
    requireKernel();
    Userfaultfd.ofThisProcess().close();
  }
}
