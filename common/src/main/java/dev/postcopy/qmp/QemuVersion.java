package dev.postcopy.qmp;

/** A QEMU's version, as query-version tells it. */
public record QemuVersion(int major, int minor, int micro) {

  /** Whether this is at least {@code major}.{@code minor}. */
  public boolean isAtLeast(int wantedMajor, int wantedMinor) {
    return major > wantedMajor || (major == wantedMajor && minor >= wantedMinor);
  }

  @Override
  public String toString() {
    return major + "." + minor + "." + micro;
  }
}
