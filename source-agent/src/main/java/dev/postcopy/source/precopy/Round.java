package dev.postcopy.source.precopy;

/**
 * What one round over the guest's memory was like.
 *
 * @param number 1 for the first, which goes over all memory
 * @param bytesSent on the bulk connection
 * @param nanos from its beginning until everything was acknowledged
 * @param pagesWritten pages that have to be sent, once more or at all, because the guest wrote to
 *     them since they were sent, or just before
 */
public record Round(int number, long bytesSent, long nanos, int pagesWritten) {}
