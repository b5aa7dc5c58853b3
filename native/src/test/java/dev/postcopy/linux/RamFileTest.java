package dev.postcopy.linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.foreign.ValueLayout;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class RamFileTest {
  private static final int PAGE = ScratchProcess.PAGE_BYTES;
  private static final int PAGES = 256;
  private static ScratchProcess process;
  private static RamFile file;

  @BeforeAll
  static void start() {
    TestHost.requireRoot();
    process = ScratchProcess.withMemfd((long) PAGES * PAGE);
    file = process.openMemfd();
  }

  @AfterAll
  static void stop() {
    if (process != null) {
      file.close();
      process.close();
    }
  }

  @BeforeEach
  void punchAll() {
    file.punchAll();
  }

  @Test
  void findsNoDataInAnEmptyFile() {
    assertThat(file.nextData(0)).as("no data: the length").isEqualTo(file.byteLength());
    assertThat(file.nextHole(0)).isZero();
    assertThat(file.allocatedBytes()).isZero();
  }

  @Test
  void findsDataAndHoles() {
    writePage(3);
    writePage(4);
    writePage(PAGES - 1);

    assertThat(file.nextData(0)).isEqualTo(3L * PAGE);
    assertThat(file.nextHole(3L * PAGE)).isEqualTo(5L * PAGE);
    assertThat(file.nextData(5L * PAGE)).isEqualTo((PAGES - 1L) * PAGE);
    assertThat(file.nextHole((PAGES - 1L) * PAGE))
        .as("no hole: the length")
        .isEqualTo(file.byteLength());
    assertThat(file.nextData(file.byteLength())).as("at the end").isEqualTo(file.byteLength());
  }

  @Test
  void countsFromTheStartOfTheBlock() {
    writePage(0);
    writePage(20);
    writePage(40);
    RamMapping whole = RamMapping.locate(process.pid(), "pc.ram", "", file.byteLength());
    RamMapping part =
        new RamMapping(
            whole.pid(),
            "part",
            new RemoteRange(whole.range().start().plus(10L * PAGE), 20L * PAGE),
            10L * PAGE,
            whole.firstVma(),
            whole.device(),
            whole.inode(),
            whole.path());
    try (RamFile block = part.open(true)) {
      assertThat(block.nextData(0)).isEqualTo(10L * PAGE);
      assertThat(block.nextData(11L * PAGE)).as("data behind the block").isEqualTo(20L * PAGE);
      block.punchAll();
      assertThat(block.nextData(0)).isEqualTo(block.byteLength());
    }
    assertThat(file.allocatedBytes()).as("pages of other blocks").isEqualTo(2L * PAGE);
  }

  @Test
  void punchesARange() {
    writePage(1);
    writePage(2);

    file.punch(PAGE, PAGE);

    assertThat(file.nextData(0)).isEqualTo(2L * PAGE);
    assertThat(file.allocatedBytes()).isEqualTo(PAGE);
    assertThat(process.request("touch " + PAGE)).isEqualTo("touched " + PAGE + " 0");
  }

  /** To lseek(2) the pages behind the end look like a hole, and a hole reads as zeros. */
  @Test
  void whatATruncatedFileLostIsNoHole() {
    try (ScratchMemory memory = ScratchMemory.create(8L * PAGE)) {
      RamFile whole = memory.file();
      assertThat(whole.nextData(6L * PAGE)).as("before").isEqualTo(8L * PAGE);

      memory.truncate(4L * PAGE);

      for (int page : new int[] {0, 3, 4, 6}) {
        assertThatThrownBy(() -> whole.nextData((long) page * PAGE))
            .as("from page %d on", page)
            .isInstanceOf(TruncatedFileException.class)
            .hasMessage("a RAM file of 16384 bytes, where 32768 are needed");
      }
    }
  }

  @Test
  void scanningAllocatesNothing() {
    writePage(7);
    long before = file.allocatedBytes();
    for (long offset = 0; offset < file.byteLength(); offset = file.nextHole(offset)) {
      offset = file.nextData(offset);
      if (offset == file.byteLength()) {
        break;
      }
    }

    assertThat(file.allocatedBytes()).as("bytes allocated after a scan").isEqualTo(before);
  }

  @Test
  void mapsTheBlockAndReadingAHoleAllocatesItsPage() {
    assertThat(process.request("write 8192 77")).isEqualTo("wrote 8192");
    try (MappedRam ram = file.mapReadOnly()) {
      assertThat(ram.segment().byteSize()).isEqualTo(file.byteLength());
      assertThat(ram.segment().isReadOnly()).isTrue();
      assertThat(ram.segment().get(ValueLayout.JAVA_LONG, 8192)).isEqualTo(77);
      assertThat(file.allocatedBytes()).isEqualTo(PAGE);

      assertThat(ram.segment().get(ValueLayout.JAVA_LONG, 0)).isZero();
      assertThat(file.allocatedBytes())
          .as("the hole that was read is a page now")
          .isEqualTo(2L * PAGE);
    }
  }

  @Test
  void closingAMappingTwiceIsHarmlessAndItsSegmentIsDead() {
    MappedRam ram = file.mapReadOnly();
    ram.close();
    ram.close();

    assertThatThrownBy(() -> ram.segment().get(ValueLayout.JAVA_LONG, 0))
        .isInstanceOf(IllegalStateException.class);
  }

  @Test
  void refusesOffsetsOutsideTheBlock() {
    long length = file.byteLength();

    assertThatThrownBy(() -> file.punch(length - PAGE, 2L * PAGE))
        .isInstanceOf(IndexOutOfBoundsException.class);
    assertThatThrownBy(() -> file.punch(-PAGE, PAGE)).isInstanceOf(IndexOutOfBoundsException.class);
    assertThatThrownBy(() -> file.nextData(length + 1))
        .isInstanceOf(IndexOutOfBoundsException.class);
    assertThatThrownBy(() -> file.punch(PAGE, Long.MAX_VALUE))
        .isInstanceOf(IndexOutOfBoundsException.class);
  }

  @Test
  void aReadOnlyFileCannotBePunched() {
    try (RamFile readOnly =
        RamMapping.locate(process.pid(), "pc.ram", "", file.byteLength()).open(false)) {
      assertThatThrownBy(readOnly::punchAll)
          .isInstanceOf(LinuxException.class)
          .hasMessage("fallocate(PUNCH_HOLE): EBADF (Bad file descriptor)");
    }
  }

  @Test
  void aMemfdHasNoFilesystemLimit() {
    assertThat(file.filesystemFreeBytes()).isEqualTo(Long.MAX_VALUE);
  }

  private static void writePage(int page) {
    long offset = (long) page * PAGE;
    assertThat(process.request("write " + offset + " 1")).isEqualTo("wrote " + offset);
  }
}
