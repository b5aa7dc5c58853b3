package dev.postcopy.qmp;

/** Sends bytes with a file descriptor beside them (SCM_RIGHTS, unix(7)). */
@FunctionalInterface
public interface DescriptorSender {

  /**
   * @param socketFd a connected unix socket, which may be non-blocking
   * @param payload all of it is sent
   * @param descriptor passed with the first byte; stays open here
   */
  void send(int socketFd, byte[] payload, int descriptor);
}
