package dev.postcopy.qmp;

/**
 * A memory backend of a QEMU.
 *
 * @param id its id, which is also its block's id in QEMU's migration stream
 * @param byteLength its size
 * @param type QOM type: memory-backend-file, memory-backend-memfd, memory-backend-ram, …
 * @param path mem-path of a memory-backend-file; "" for the other types
 * @param shared share=on
 * @param preallocated prealloc=on
 */
public record MemoryBackend(
    String id, long byteLength, String type, String path, boolean shared, boolean preallocated) {}
