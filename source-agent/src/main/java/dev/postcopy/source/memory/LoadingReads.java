package dev.postcopy.source.memory;

import dev.postcopy.linux.RemoteAddress;
import dev.postcopy.linux.RemoteRange;
import dev.postcopy.linux.Residency;
import dev.postcopy.memory.RamLayout;
import dev.postcopy.qmp.GuestAddresses;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufUtil;
import io.netty.buffer.Unpooled;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.OptionalLong;
import java.util.Set;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Finds the pages that a QEMU reads while it loads a device state. Each is a fault that is waited
 * for before the next, with the guest standing still, unless the page was sent before. A hint: what
 * is missed is faulted on, what is named in vain is sent a little early.
 *
 * <ul>
 *   <li>Virtio queues: the indices in both rings of each are compared with the state (QEMU:
 *       virtio_load, hw/virtio/virtio.c). A virtio-serial device alone has 64 queues.
 *   <li>The option ROM of the PC's kvmvapic device, of which the guest has a copy in its RAM: all
 *       of it is looked through (QEMU: patch_hypercalls, hw/i386/kvmvapic.c).
 * </ul>
 */
public final class LoadingReads {

  private static final Logger log = LoggerFactory.getLogger(LoadingReads.class);

  private static final int PAGE = RamLayout.PAGE_BYTES;

  /** 1 MiB of pages: the guest waits for them too. */
  private static final int MAX_PAGES = 256;

  /** Where a PC has copies of option ROMs, guest-physical. */
  private static final long ROMS_START = 0xC0000;

  private static final long ROMS_END = 0xF0000;
  private static final int ROM_BLOCK = 512;

  /** How a ROM begins (PCI Firmware Specification): the bytes 55 AA, then its length in blocks. */
  private static final int ROM_MARK = 0xAA55;

  private static final ByteBuf VAPIC_MARK =
      Unpooled.wrappedBuffer("kvm aPiC".getBytes(StandardCharsets.US_ASCII));

  private final GuestAddresses addresses;
  private final GuestMemory memory;
  private final List<RemoteRange> ranges;
  private final Set<Integer> pages = new LinkedHashSet<>();

  private LoadingReads(GuestAddresses addresses, GuestMemory memory, List<RemoteRange> ranges) {
    this.addresses = addresses;
    this.memory = memory;
    this.ranges = ranges;
  }

  /**
   * Asks QEMU, whose guest runs on; takes half a millisecond for each queue.
   *
   * @param ranges where QEMU has each block of the guest's RAM
   * @return page numbers, in the order in which they are likely read
   */
  public static int[] find(GuestAddresses addresses, GuestMemory memory, List<RemoteRange> ranges) {
    LoadingReads reads = new LoadingReads(addresses, memory, ranges);
    reads.addVapicRom();
    for (long ring : addresses.virtioRings(2 * MAX_PAGES)) {
      reads.add(reads.pageAt(ring));
    }
    log.debug("loading is likely to read pages {}", reads.pages);
    return reads.pages.stream().limit(MAX_PAGES).mapToInt(Integer::intValue).toArray();
  }

  private void add(int page) {
    if (page >= 0) {
      pages.add(page);
    }
  }

  /** The page at a guest-physical address, or -1 where there is none. */
  private int pageAt(long guestPhysicalAddress) {
    OptionalLong host = addresses.hostAddressOf(guestPhysicalAddress);
    if (host.isEmpty()) {
      return -1;
    }
    RemoteAddress address = new RemoteAddress(host.getAsLong());
    for (int block = 0; block < ranges.size(); block++) {
      if (ranges.get(block).contains(address)) {
        long byteOffset = address.minus(ranges.get(block).start());
        return memory.layout().firstPageOf(block) + (int) (byteOffset / PAGE);
      }
    }
    return -1;
  }

  private void addVapicRom() {
    Residency residency = new Residency();
    ByteBuf content = Unpooled.directBuffer(PAGE);
    try {
      for (long at = ROMS_START; at < ROMS_END; at += PAGE) {
        int page = pageAt(at);
        if (page >= 0 && memory.contentRun(page, 1, residency) > 0) {
          memory.copyTo(content.clear(), page, 1);
          addVapicRom(content, page);
        }
      }
    } finally {
      content.release();
    }
  }

  private void addVapicRom(ByteBuf content, int page) {
    for (int block = 0; block < PAGE; block += ROM_BLOCK) {
      if (content.getUnsignedShortLE(block) == ROM_MARK && isVapic(content, block)) {
        int lastByte = block + content.getUnsignedByte(block + 2) * ROM_BLOCK - 1;
        for (int i = 0; i <= lastByte / PAGE; i++) {
          add(page + i);
        }
      }
    }
  }

  private static boolean isVapic(ByteBuf content, int block) {
    return ByteBufUtil.indexOf(VAPIC_MARK, content.slice(block, ROM_BLOCK)) >= 0;
  }
}
