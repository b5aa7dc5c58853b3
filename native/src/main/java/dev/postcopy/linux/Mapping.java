package dev.postcopy.linux;

/**
 * One line of /proc/PID/maps, or several of one file that continue each other.
 *
 * @param range the addresses of the whole mapping
 * @param firstVma the addresses of its first line, which name its file in /proc/PID/map_files
 * @param fileByteOffset where in the file {@code range} starts
 * @param device the st_dev of the file as fstat(2) has it; 0 when there is no file
 * @param path without the " (deleted)" of the kernel; empty for private anonymous memory
 * @param deleted whether the file has no name any more
 */
public record Mapping(
    RemoteRange range,
    RemoteRange firstVma,
    boolean readable,
    boolean writable,
    boolean executable,
    boolean shared,
    long fileByteOffset,
    long device,
    long inode,
    String path,
    boolean deleted) {

  boolean isContinuedBy(Mapping next) {
    return inode != 0
        && inode == next.inode
        && device == next.device
        && range.end().equals(next.range.start())
        && fileByteOffset + range.byteLength() == next.fileByteOffset
        && readable == next.readable
        && writable == next.writable
        && executable == next.executable
        && shared == next.shared;
  }

  Mapping continuedBy(Mapping next) {
    return new Mapping(
        new RemoteRange(range.start(), range.byteLength() + next.range.byteLength()),
        firstVma,
        readable,
        writable,
        executable,
        shared,
        fileByteOffset,
        device,
        inode,
        path,
        deleted);
  }
}
