// The only program of the Linux guest that the tests, the demo and the benchmark migrate. It owns a piece of memory in
// which every word of every page can be predicted, keeps changing it, and notices any word that is not what it wrote.
//
// Parameters come from the kernel command line:
//   pc.mem_mib=64       memory that is worked on
//   pc.hot_mib=16       the part of it that nearly all visits go to
//   pc.cold_share=20    per mille of the visits that go to the rest
//   pc.zero_mib=0       more memory that is touched but stays zero
//   pc.order=random     or sequential: how the next page is picked
//   pc.threads=1        workers; each owns every n-th page, so that no page has two writers
//   pc.think_us=0       sleep after each visit; under emulation each sleep takes about 1 ms more
//   pc.spin_us=0        busy wait after each visit, for think times that are too short to sleep
//   pc.stall_us=100     an access is a stall when it takes this much longer than the typical (median) one
//   pc.trace_us=0       remember each access that takes at least this long, for `stalls`; 0: none
//   pc.disk=0           1: also write and check blocks on /dev/vda, so that the VMM itself touches guest memory
//   pc.seed=1           of the visits and of the contents
//   pc.console=ttyS0    where to talk; hvc0 is the virtio console
//
// It prints a line each:
//   READY pages=N                    filled; the work begins
//   HB seq mono_ms ops=N errors=N    every 100 ms while the guest runs; with pc.disk also disk_ops=N
//   CORRUPT page=P expected=V found=V word=W       at once
// and answers a line each (ending in \n or \r):
//   verify   every page in full:  VERIFY ok|bad pages=N zero_pages=N errors=N worker_errors=N
//   hist     access times since the last reset: BUCKET from_us to_us count, then one line HIST key=value...
//   stalls   the long accesses since the last reset, in order for each worker: lines of STALL at_us:took_us ..., then
//            STALLS count=N dropped=N mono_us=N at_us=N: what at_us counts from, by the clock of the heartbeats
//   reset    forget the access times:  RESET mono_us=N at_us=N
//   pause    stop visiting pages:  PAUSED ops=N
//   go       go on:  GOING
//   quit     power off
//
// Times of accesses are taken with the TSC, which needs no system call and no device: reading HPET or the ACPI timer
// takes the VMM's big lock, and a VMM that waits for a page while it holds the lock would then show up as a stall of
// every access. The TSC, like the other clocks of a guest, stands still while the VMM has stopped the guest, so the
// downtime of a migration is not seen from in here.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

enum {
  PAGE = 4096,
  WORDS = PAGE / 8,
  MAX_THREADS = 64,
  HEARTBEAT_MS = 100,
  // The histogram is log-linear: 32 steps for each power of two, so that a value is known to 3 %.
  STEP_BITS = 5,
  BUCKETS = (64 - STEP_BITS + 1) << STEP_BITS,
  DETAILED_ERRORS = 10,
  MAX_STALLS = 1 << 16,
  DISK_SLOTS = 1024,
};

struct worker {
  _Alignas(64) _Atomic uint64_t ops;
  _Atomic uint64_t errors;
  _Atomic bool paused;
  int index;
  uint64_t random;
  uint64_t hot_cursor, cold_cursor;
  uint32_t *histogram;
  struct stall *stalls;
  _Atomic uint64_t stall_count;
};

struct stall {
  uint32_t at_us, took_us;
};

static char command_line[4096];
static uint64_t pages, hot_pages, zero_pages, seed;
static unsigned threads, cold_share, think_us, spin_us, stall_us, trace_us;
static bool sequential;
static uint64_t (*memory)[WORDS];
static uint64_t *zeros;
static uint32_t *versions;
static struct worker workers[MAX_THREADS];
static _Atomic bool pausing;
static _Atomic uint64_t disk_ops, disk_errors;
static bool disk_on;
static double ns_per_tick;
static uint64_t first_tick;
static int console = -1;
static pthread_mutex_t console_lock = PTHREAD_MUTEX_INITIALIZER;

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Lines must not be torn apart when two threads speak, so each is one write() where the console takes it.
static void say(const char *format, ...) {
  char line[512];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(line, sizeof line - 2, format, arguments);
  va_end(arguments);
  if (length > (int)sizeof line - 3) length = sizeof line - 3;
  line[length++] = '\n';
  pthread_mutex_lock(&console_lock);
  for (int done = 0; done < length;) {
    ssize_t n = write(console, line + done, length - done);
    if (n < 0 && errno != EINTR && errno != EAGAIN) break;
    if (n > 0) done += n;
  }
  pthread_mutex_unlock(&console_lock);
}

static void power_off(void) {
  sync();
  reboot(RB_POWER_OFF);
  for (;;) pause();
}

static void fail(const char *what) {
  say("FAILED %s: %s", what, strerror(errno));
  power_off();
}

static const char *parameter(const char *name, const char *otherwise) {
  static char value[MAX_THREADS][64];
  static int used;
  size_t length = strlen(name);
  for (const char *at = command_line; (at = strstr(at, name)); at += length) {
    if ((at == command_line || at[-1] == ' ') && at[length] == '=') {
      char *into = value[used++ % MAX_THREADS];
      snprintf(into, sizeof value[0], "%.*s", (int)strcspn(at + length + 1, " \n"), at + length + 1);
      return into;
    }
  }
  return otherwise;
}

static uint64_t number(const char *name, uint64_t otherwise) {
  const char *text = parameter(name, NULL);
  return text ? strtoull(text, NULL, 10) : otherwise;
}

static uint64_t mono_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static void sleep_us(uint64_t us) {
  struct timespec time = {us / 1000000, us % 1000000 * 1000};
  while (clock_nanosleep(CLOCK_MONOTONIC, 0, &time, &time) == EINTR) {}
}

static uint64_t next_random(uint64_t *state) {
  uint64_t x = *state;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  *state = x;
  return x * 0x2545f4914f6cdd1dull;
}

// ---- contents ------------------------------------------------------------------------------------------------------

static const uint64_t WORD_STEP = 0x9e3779b97f4a7c15ull;

static uint64_t content_base(uint64_t page, uint32_t version) {
  uint64_t x = seed + page * 0xbf58476d1ce4e5b9ull + version * 0x94d049bb133111ebull;
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ull;
  return x ^ x >> 27;
}

// Word 0 is the page's number and word 1 its version, so that a foreign or an old page says what it is; the others are
// derived from both, so that a page put together from two is noticed too.
static void write_page(uint64_t *words, uint64_t page, uint32_t version) {
  uint64_t value = content_base(page, version);
  words[0] = page;
  words[1] = version;
  for (int i = 2; i < WORDS; i++) words[i] = value += WORD_STEP;
}

static bool page_is(const uint64_t *words, uint64_t page, uint32_t version) {
  uint64_t value = content_base(page, version);
  uint64_t difference = (words[0] ^ page) | (words[1] ^ version);
  for (int i = 2; i < WORDS; i++) difference |= words[i] ^ (value += WORD_STEP);
  return difference == 0;
}

static void report(const char *where, const uint64_t *words, uint64_t page, uint32_t version) {
  uint64_t value = content_base(page, version);
  int word = 0;
  if (words[0] == page) word = 1;
  if (word == 1 && words[1] == version) {
    for (word = 2; word < WORDS - 1 && words[word] == (value += WORD_STEP);) word++;
  }
  say("CORRUPT %s=%llu expected=%u found=%llu found_page=%llu word=%d value=%llx", where, (unsigned long long)page,
      version, (unsigned long long)words[1], (unsigned long long)words[0], word, (unsigned long long)words[word]);
}

// ---- work ----------------------------------------------------------------------------------------------------------

static unsigned bucket_of(uint64_t ns) {
  if (ns < 1 << STEP_BITS) return ns;
  int exponent = 63 - __builtin_clzll(ns);
  return ((exponent - STEP_BITS) << STEP_BITS) + (ns >> (exponent - STEP_BITS));
}

static uint64_t bucket_start(unsigned bucket) {
  if (bucket < 2 << STEP_BITS) return bucket;
  unsigned shift = (bucket >> STEP_BITS) - 1;
  return (uint64_t)((bucket & ((1 << STEP_BITS) - 1)) + (1 << STEP_BITS)) << shift;
}

// Visits one of the worker's own pages below `from` + `count`: those whose number is its index modulo the threads.
static uint64_t pick(struct worker *worker, uint64_t from, uint64_t count, uint64_t *cursor) {
  uint64_t own = count / threads;
  uint64_t at = sequential ? (*cursor)++ % own : next_random(&worker->random) % own;
  return from + at * threads + worker->index;
}

static uint32_t us_since_first_tick(uint64_t tick) {
  return (tick - first_tick) * ns_per_tick / 1000;
}

static void remember_stall(struct worker *worker, uint64_t start, uint64_t ticks) {
  uint64_t at = atomic_load_explicit(&worker->stall_count, memory_order_relaxed);
  if (at < MAX_STALLS) worker->stalls[at] = (struct stall){us_since_first_tick(start), ticks * ns_per_tick / 1000};
  atomic_store_explicit(&worker->stall_count, at + 1, memory_order_release);
}

static void *work(void *argument) {
  struct worker *worker = argument;
  bool has_cold = pages - hot_pages >= threads;
  for (;;) {
    if (atomic_load_explicit(&pausing, memory_order_relaxed)) {
      atomic_store(&worker->paused, true);
      while (atomic_load(&pausing)) sleep_us(1000);
      atomic_store(&worker->paused, false);
    }
    bool cold = has_cold && next_random(&worker->random) % 1000 < cold_share;
    uint64_t page = cold ? pick(worker, hot_pages, pages - hot_pages, &worker->cold_cursor)
                         : pick(worker, 0, hot_pages, &worker->hot_cursor);
    uint64_t *words = memory[page];
    uint32_t version = versions[page];
    uint64_t start = __rdtsc();
    bool right = page_is(words, page, version);
    if (!right) {
      // Said before the page is overwritten: what is there now is the evidence.
      if (atomic_fetch_add(&worker->errors, 1) < DETAILED_ERRORS) report("page", words, page, version);
    }
    write_page(words, page, version + 1);
    uint64_t ticks = __rdtsc() - start;
    versions[page] = version + 1;
    worker->histogram[bucket_of(ticks * ns_per_tick)]++;
    if (trace_us && ticks * ns_per_tick >= trace_us * 1000.0) remember_stall(worker, start, ticks);
    // The only writer: no need for a locked instruction.
    atomic_store_explicit(&worker->ops, atomic_load_explicit(&worker->ops, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    if (spin_us) {
      uint64_t until = __rdtsc() + (uint64_t)(spin_us * 1000.0 / ns_per_tick);
      while (__rdtsc() < until) _mm_pause();
    }
    if (think_us) sleep_us(think_us);
  }
  return NULL;
}

// Writes versions of 4 KiB blocks to the disk and reads others back, past the guest's page cache: the VMM reads and
// writes these pages of guest memory itself.
static void *work_on_disk(void *argument) {
  (void)argument;
  int disk = -1;
  for (int i = 0; i < 200 && disk < 0; i++) {
    disk = open("/dev/vda", O_RDWR | O_DIRECT);
    if (disk < 0) sleep_us(10000);
  }
  if (disk < 0) {
    say("FAILED open /dev/vda: %s", strerror(errno));
    atomic_fetch_add(&disk_errors, 1);
    return NULL;
  }
  uint64_t(*blocks)[WORDS] =
      mmap(NULL, DISK_SLOTS * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  static uint32_t on_disk[DISK_SLOTS];
  uint64_t random = seed * 77 + 13;
  uint32_t version = 0;
  for (;;) {
    while (atomic_load(&pausing)) sleep_us(1000);
    unsigned slot = next_random(&random) % DISK_SLOTS, from = next_random(&random) % DISK_SLOTS;
    write_page(blocks[slot], slot, ++version);
    if (pwrite(disk, blocks[slot], PAGE, (off_t)slot * PAGE) != PAGE) fail("write to /dev/vda");
    on_disk[slot] = version;
    if (on_disk[from]) {
      uint64_t *into = blocks[next_random(&random) % DISK_SLOTS];
      if (pread(disk, into, PAGE, (off_t)from * PAGE) != PAGE) fail("read from /dev/vda");
      if (!page_is(into, from, on_disk[from]) && atomic_fetch_add(&disk_errors, 1) < DETAILED_ERRORS) {
        report("disk_block", into, from, on_disk[from]);
      }
    }
    atomic_fetch_add(&disk_ops, 1);
    sleep_us(1000);
  }
  return NULL;
}

// ---- what is printed -----------------------------------------------------------------------------------------------

static uint64_t total_ops(void) {
  uint64_t total = 0;
  for (unsigned i = 0; i < threads; i++) total += atomic_load_explicit(&workers[i].ops, memory_order_relaxed);
  return total;
}

static uint64_t total_errors(void) {
  uint64_t total = atomic_load(&disk_errors);
  for (unsigned i = 0; i < threads; i++) total += atomic_load_explicit(&workers[i].errors, memory_order_relaxed);
  return total;
}

static uint64_t next_heartbeat_ns;

// After a stall there is one heartbeat, not one for each that was missed.
static void heartbeat_if_due(void) {
  static uint64_t sequence;
  uint64_t now = mono_ns();
  if (now < next_heartbeat_ns) return;
  next_heartbeat_ns = now + HEARTBEAT_MS * 1000000ull - (now - next_heartbeat_ns) % (HEARTBEAT_MS * 1000000ull);
  char disk[48] = "";
  if (disk_on) snprintf(disk, sizeof disk, " disk_ops=%llu", (unsigned long long)atomic_load(&disk_ops));
  say("HB %llu %llu ops=%llu errors=%llu%s", (unsigned long long)sequence++, (unsigned long long)(now / 1000000),
      (unsigned long long)total_ops(), (unsigned long long)total_errors(), disk);
}

static void pause_workers(void) {
  atomic_store(&pausing, true);
  for (unsigned i = 0; i < threads; i++) {
    while (!atomic_load(&workers[i].paused)) {
      heartbeat_if_due();
      sleep_us(500);
    }
  }
}

static void resume_workers(void) {
  atomic_store(&pausing, false);
  for (unsigned i = 0; i < threads; i++) {
    while (atomic_load(&workers[i].paused)) sleep_us(500);
  }
}

static void verify(void) {
  bool was_paused = atomic_load(&pausing);
  pause_workers();
  uint64_t errors = 0;
  for (uint64_t page = 0; page < pages; page++) {
    if (!page_is(memory[page], page, versions[page]) && errors++ < DETAILED_ERRORS) {
      report("page", memory[page], page, versions[page]);
    }
    if (page % 64 == 0) heartbeat_if_due();
  }
  for (uint64_t page = 0; page < zero_pages; page++) {
    uint64_t any = 0;
    for (int i = 0; i < WORDS; i++) any |= zeros[page * WORDS + i];
    if (any && errors++ < DETAILED_ERRORS) say("CORRUPT zero_page=%llu is not zero", (unsigned long long)page);
    if (page % 64 == 0) heartbeat_if_due();
  }
  uint64_t worker_errors = total_errors();
  say("VERIFY %s pages=%llu zero_pages=%llu errors=%llu worker_errors=%llu", errors + worker_errors ? "bad" : "ok",
      (unsigned long long)pages, (unsigned long long)zero_pages, (unsigned long long)errors,
      (unsigned long long)worker_errors);
  if (!was_paused) resume_workers();
}

// The workers go on counting meanwhile: a number read here may be one visit old, which no one minds.
static void print_histogram(void) {
  static uint64_t merged[BUCKETS];
  uint64_t count = 0, at = 0, stalls = 0;
  memset(merged, 0, sizeof merged);
  for (unsigned i = 0; i < threads; i++) {
    for (unsigned bucket = 0; bucket < BUCKETS; bucket++) merged[bucket] += workers[i].histogram[bucket];
  }
  for (unsigned bucket = 0; bucket < BUCKETS; bucket++) count += merged[bucket];
  static const double share[] = {0.5, 0.9, 0.99, 0.999};
  double quantile[4] = {0}, max = 0, stalled = 0;
  int found = 0;
  for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
    if (!merged[bucket]) continue;
    double from = bucket_start(bucket) / 1000.0, to = bucket_start(bucket + 1) / 1000.0;
    say("BUCKET %.3f %.3f %llu", from, to, (unsigned long long)merged[bucket]);
    at += merged[bucket];
    for (; found < 4 && at >= share[found] * count; found++) quantile[found] = to;
    max = to;
    // Buckets come in order, so the median is known before the first stall.
    if (found > 0 && from > quantile[0] + stall_us) {
      stalls += merged[bucket];
      stalled += merged[bucket] * ((from + to) / 2 - quantile[0]);
    }
  }
  say("HIST count=%llu p50_us=%.1f p90_us=%.1f p99_us=%.1f p999_us=%.1f max_us=%.1f stalls=%llu stalled_us=%.0f",
      (unsigned long long)count, quantile[0], quantile[1], quantile[2], quantile[3], max, (unsigned long long)stalls,
      stalled);
}

static void print_stalls(void) {
  enum { PER_LINE = 16 };
  uint64_t total = 0, dropped = 0;
  for (unsigned i = 0; i < threads && trace_us; i++) {
    uint64_t count = atomic_load_explicit(&workers[i].stall_count, memory_order_acquire);
    if (count > MAX_STALLS) dropped += count - MAX_STALLS, count = MAX_STALLS;
    total += count;
    for (uint64_t at = 0; at < count; at += PER_LINE) {
      char line[PER_LINE * 24];
      int length = 0;
      for (uint64_t j = at; j < at + PER_LINE && j < count; j++) {
        length += snprintf(line + length, sizeof line - length, " %u:%u", workers[i].stalls[j].at_us,
                           workers[i].stalls[j].took_us);
      }
      say("STALL%s", line);
    }
  }
  say("STALLS count=%llu dropped=%llu mono_us=%llu at_us=%u", (unsigned long long)total, (unsigned long long)dropped,
      (unsigned long long)(mono_ns() / 1000), us_since_first_tick(__rdtsc()));
}

static void reset_access_times(void) {
  bool was_paused = atomic_load(&pausing);
  pause_workers();
  for (unsigned i = 0; i < threads; i++) {
    memset(workers[i].histogram, 0, BUCKETS * sizeof(uint32_t));
    atomic_store(&workers[i].stall_count, 0);
  }
  say("RESET mono_us=%llu at_us=%u", (unsigned long long)(mono_ns() / 1000), us_since_first_tick(__rdtsc()));
  if (!was_paused) resume_workers();
}

static void obey(const char *command) {
  if (!strcmp(command, "verify")) {
    verify();
  } else if (!strcmp(command, "hist")) {
    print_histogram();
  } else if (!strcmp(command, "stalls")) {
    print_stalls();
  } else if (!strcmp(command, "reset")) {
    reset_access_times();
  } else if (!strcmp(command, "pause")) {
    pause_workers();
    say("PAUSED ops=%llu", (unsigned long long)total_ops());
  } else if (!strcmp(command, "go")) {
    resume_workers();
    say("GOING");
  } else if (!strcmp(command, "quit")) {
    say("QUITTING");
    // Powering off takes the disk away from whoever is still writing to it, and that would look like an error.
    atomic_store(&pausing, true);
    sleep_us(100000);
    power_off();
  } else if (*command) {
    say("UNKNOWN %s", command);
  }
}

// ---- start ---------------------------------------------------------------------------------------------------------

static bool has_virtio_device(void) {
  // Asked of the PCI bus by address, because a directory listing is all that sysfs would be needed for.
  for (int slot = 0; slot < 32; slot++) {
    char path[80], text[16] = "";
    snprintf(path, sizeof path, "/sys/bus/pci/devices/0000:00:%02x.0/vendor", slot);
    int vendor = open(path, O_RDONLY);
    if (vendor < 0) continue;
    ssize_t n = read(vendor, text, sizeof text - 1);
    close(vendor);
    if (n > 0 && !strncmp(text, "0x1af4", 6)) return true;
  }
  return false;
}

// Only where the VMM has a virtio device: linking modules takes a noticeable part of the boot under emulation.
static void load_virtio_modules(void) {
  // In the order of their dependencies. Which of them exist, and which are part of the kernel, depends on the kernel.
  static const char *const modules[] = {
      "virtio_ring",    "virtio",      "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk",
      "virtio_console", "rng-core",    "virtio-rng",            "virtio_balloon",        "failover",   "net_failover",
      "virtio_net",
  };
  for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
    char path[80];
    snprintf(path, sizeof path, "/modules/%s.ko", modules[i]);
    int module = open(path, O_RDONLY | O_CLOEXEC);
    if (module < 0) continue;
    if (syscall(SYS_finit_module, module, "", 0) && errno != EEXIST) {
      fprintf(stderr, "module %s: %s\n", modules[i], strerror(errno));
    }
    close(module);
  }
}

static void open_console(const char *name) {
  char path[64];
  snprintf(path, sizeof path, "/dev/%s", name);
  for (int i = 0; i < 200 && console < 0; i++) {
    console = open(path, O_RDWR | O_NOCTTY);
    if (console < 0) sleep_us(10000);
  }
  if (console < 0) return;
  struct termios settings;
  if (!tcgetattr(console, &settings)) {
    cfmakeraw(&settings);
    settings.c_cflag |= CLOCAL;
    tcsetattr(console, TCSANOW, &settings);
  }
}

static void measure_tsc(void) {
  uint64_t start_ns = mono_ns(), start = __rdtsc();
  sleep_us(50000);
  uint64_t end_ns = mono_ns(), end = __rdtsc();
  ns_per_tick = (double)(end_ns - start_ns) / (double)(end - start);
  first_tick = end;
}

static void *map_with(int flags, uint64_t bytes) {
  void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  if (at == MAP_FAILED) fail("mmap");
  return at;
}

static void *map(uint64_t bytes) { return map_with(0, bytes); }

static void *fill(void *argument) {
  struct worker *worker = argument;
  for (uint64_t page = worker->index; page < pages; page += threads) write_page(memory[page], page, versions[page] = 1);
  // Written, though with what is there already: only then is it memory of its own.
  for (uint64_t page = worker->index; page < zero_pages; page += threads) {
    *(volatile uint64_t *)&zeros[page * WORDS] = 0;
  }
  return NULL;
}

static void start(pthread_t *thread, void *(*body)(void *), void *argument) {
  if ((errno = pthread_create(thread, NULL, body, argument))) fail("pthread_create");
}

int main(void) {
  mount("proc", "/proc", "proc", 0, NULL);
  mount("sysfs", "/sys", "sysfs", 0, NULL);
  mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
  int file = open("/proc/cmdline", O_RDONLY);
  if (file >= 0) {
    ssize_t length = read(file, command_line, sizeof command_line - 1);
    if (length > 0) command_line[length] = 0;
    close(file);
  }
  if (has_virtio_device()) load_virtio_modules();
  open_console(parameter("pc.console", "ttyS0"));

  pages = number("pc.mem_mib", 64) * 256;
  hot_pages = number("pc.hot_mib", 16) * 256;
  zero_pages = number("pc.zero_mib", 0) * 256;
  threads = number("pc.threads", 1);
  cold_share = number("pc.cold_share", 20);
  think_us = number("pc.think_us", 0);
  spin_us = number("pc.spin_us", 0);
  stall_us = number("pc.stall_us", 100);
  trace_us = number("pc.trace_us", 0);
  seed = number("pc.seed", 1);
  sequential = !strcmp(parameter("pc.order", "random"), "sequential");
  disk_on = number("pc.disk", 0);
  if (threads < 1) threads = 1;
  if (threads > MAX_THREADS) threads = MAX_THREADS;
  if (hot_pages < threads) hot_pages = threads;
  if (hot_pages > pages) hot_pages = pages;

  memory = map(pages * PAGE);
  versions = map(pages * sizeof *versions);
  if (zero_pages) zeros = map(zero_pages * PAGE);
  measure_tsc();

  pthread_t thread[MAX_THREADS];
  for (unsigned i = 0; i < threads; i++) {
    struct worker *worker = &workers[i];
    worker->index = i;
    worker->random = (seed + i) * 0x9e3779b97f4a7c15ull | 1;
    worker->histogram = map(BUCKETS * sizeof(uint32_t));
    // Populated: a stall must not have another one by being written down.
    if (trace_us) worker->stalls = map_with(MAP_POPULATE, MAX_STALLS * sizeof(struct stall));
    start(&thread[i], fill, worker);
  }
  for (unsigned i = 0; i < threads; i++) pthread_join(thread[i], NULL);
  say("READY pages=%llu zero_pages=%llu threads=%u tsc_mhz=%.0f", (unsigned long long)pages,
      (unsigned long long)zero_pages, threads, 1000 / ns_per_tick);
  for (unsigned i = 0; i < threads; i++) start(&thread[i], work, &workers[i]);
  pthread_t disk;
  if (disk_on) start(&disk, work_on_disk, NULL);

  char command[128];
  size_t length = 0;
  next_heartbeat_ns = mono_ns();
  for (;;) {
    heartbeat_if_due();
    uint64_t now = mono_ns();
    int wait_ms = now < next_heartbeat_ns ? (next_heartbeat_ns - now) / 1000000 + 1 : 0;
    struct pollfd input = {.fd = console, .events = POLLIN};
    if (poll(&input, 1, wait_ms) <= 0) continue;
    char c;
    if (read(console, &c, 1) != 1) {
      // A console that was hung up reads as end of file for ever; go on with the heartbeats alone.
      sleep_us(HEARTBEAT_MS * 1000);
      continue;
    }
    if (c == '\n' || c == '\r') {
      command[length] = 0;
      length = 0;
      obey(command);
    } else if (length < sizeof command - 1) {
      command[length++] = c;
    }
  }
}
